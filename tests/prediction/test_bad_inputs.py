"""Files that people give by mistake, real ones of each kind: an answer, or one line that helps."""

import pickle

import av
import cv2
import numpy as np
import pytest
import torch
from conftest import clip
from PIL import Image

from sta_tsn.cli import main
from sta_tsn.datasets.demo import write_video
from sta_tsn.tasks import SpatialAttentionBackbone

NETWORK = {"name": "test_resnet", "input_px": 64}


class Stranger:
    """What a pickle of somebody else would run."""

    def __reduce__(self):
        return (print, ("code of a stranger",))


def write_sound(path) -> None:
    with av.open(str(path), "w") as file:
        track = file.add_stream("aac", rate=44100)
        silence = np.zeros((1, 44100), np.float32)
        frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
        frame.sample_rate = 44100
        file.mux([*track.encode(frame), *track.encode()])


def write_without_frames(path) -> None:
    with av.open(str(path), "w") as file:
        track = file.add_stream("libx264", rate=25)
        track.width, track.height, track.pix_fmt = 64, 48, "yuv420p"
        file.start_encoding()


def write_8k(path) -> None:
    with av.open(str(path), "w") as file:
        track = file.add_stream("mpeg4", rate=25)
        track.width, track.height, track.pix_fmt = 7680, 4320, "yuv420p"
        frame = av.VideoFrame(7680, 4320, "yuv420p")
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        file.mux([*track.encode(frame), *track.encode()])


def write_deep_pictures(folder) -> None:
    folder.mkdir()
    for number in range(1, 4):
        deep = clip(0, seed=number, num_frames=1)[0].astype(np.uint16) * 257
        cv2.imwrite(str(folder / f"{number:05d}.png"), deep)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Write one file of each kind, and a checkpoint whose first class is named like a script."""
    place = tmp_path_factory.mktemp("bad")
    frames = clip(1, seed=3, num_frames=6)
    pictures = [Image.fromarray(frame) for frame in frames]
    pictures[0].save(place / "moving.gif", save_all=True, append_images=pictures[1:], duration=40)
    pictures[0].save(place / "still.jpg")
    write_sound(place / "sound.mp4")
    write_without_frames(place / "no_frame.mkv")
    write_8k(place / "8k.mp4")
    write_deep_pictures(place / "16_bit")
    write_video(place / "one_frame.mkv", frames[:1], codec="ffv1", pixel_format="bgr0")
    write_video(place / "10_bit.mkv", frames, codec="ffv1", pixel_format="yuv420p10le")
    write_video(place / "16_bit_grey.mkv", frames, codec="ffv1", pixel_format="gray16le")
    write_video(place / "grey.mkv", frames, codec="ffv1", pixel_format="gray")
    write_video(place / "<script>.mkv", frames, codec="ffv1", pixel_format="bgr0")
    (place / "text.mp4").write_text("no video at all")
    (place / "empty.mp4").touch()

    task = SpatialAttentionBackbone(["<script>", "[red]Run"], NETWORK, "none")
    state = {"state_dict": task.state_dict(), "hyper_parameters": dict(task.hparams)}
    torch.save({**state, "VideoDataModule": {"frames": [1, 2]}}, place / "last.ckpt")
    torch.save({**state, "hyper_parameters": {"width": 8}}, place / "else.ckpt")
    torch.save(task.state_dict(), place / "weights.pth")
    torch.save(Stranger(), place / "stranger.ckpt")
    (place / "old_stranger.ckpt").write_bytes(pickle.dumps(Stranger()))
    return place


READABLE = [
    "moving.gif",
    "one_frame.mkv",
    "8k.mp4",
    "16_bit",
    "16_bit_grey.mkv",
    "10_bit.mkv",
    "grey.mkv",
    "<script>.mkv",
]
REFUSED = {
    "sound.mp4": "the file holds no video stream",
    "no_frame.mkv": "not a readable video",
    "still.jpg": "not a video: FFmpeg takes it for",
    "text.mp4": "not a readable video",
    "empty.mp4": "the file is empty",
    "absent.mp4": "No such file",
    "https://a.example/b.mp4": "download the file and give its path",
}
CHECKPOINTS = {
    "else.ckpt": "a checkpoint of something else",
    "weights.pth": "weights without a network's settings",
    "stranger.ckpt": "it could run code",
    "old_stranger.ckpt": "it could run code",
    "text.mp4": "damaged or no checkpoint",
    "absent.ckpt": "no such checkpoint",
}
CASES = [
    *((name, "last.ckpt", "") for name in READABLE),
    *((name, "last.ckpt", sentence) for name, sentence in REFUSED.items()),
    *(("grey.mkv", name, sentence) for name, sentence in CHECKPOINTS.items()),
]


@pytest.mark.parametrize(("video", "checkpoint", "sentence"), CASES)
def test_what_people_give_by_mistake_is_one_line(
    place, video, checkpoint, sentence, capsys, recwarn
):
    path = video if "://" in video else str(place / video)
    status = main(["predict", path, "--checkpoint", str(place / checkpoint), "--crops=1"])
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert "code of a stranger" not in lines
    if not sentence:
        assert status == 0
        assert lines[0] == path
        assert {line.split("%")[1].strip() for line in lines[1:]} == {"<script>", "[red]Run"}
        return
    assert status == 1
    assert sentence in said.out + said.err
    assert "Traceback" not in said.err
    assert len(lines) <= 1
    assert not recwarn.list
