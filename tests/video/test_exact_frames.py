"""Every index of every kind of file, in random order, against decoding in order."""

import random
import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from encoded_videos import CODECS, add_track, encode

from sta_tsn.datasets.manifest import probe
from sta_tsn.video import VideoReader
from sta_tsn.video import reader as reader_module

NUM_FRAMES = 48
CONTAINERS = {
    "mp4": set(CODECS) - {"mjpeg"},
    "mov": {"h264_closed", "h264_open", "mpeg4_b", "mjpeg"},
    "mkv": set(CODECS),
    "avi": {"h264_closed", "mpeg4", "mpeg4_b", "mpeg2_b", "mjpeg"},
    "ts": {"h264_closed", "h264_open", "hevc_open", "mpeg2_b"},
    "mpg": {"mpeg1_b", "mpeg2_b"},
    "flv": {"h264_closed", "h264_open"},
}
CASES = [(suffix, codec) for suffix, codecs in CONTAINERS.items() for codec in sorted(codecs)]


def moving_picture(number: int, width: int = 64, height: int = 48) -> np.ndarray:
    """Noise that drifts: no frame is like another, and what it refers to matters."""
    noise = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    picture = np.roll(noise, 3 * number, axis=1)
    picture[:, : 1 + number] = 5 * number % 256
    return picture


def encode_numbers(container, track, numbers) -> None:
    pictures = {n: moving_picture(n, track.width, track.height) for n in numbers}
    encode(container, track, pictures)


def write(path, codec: str) -> None:
    with av.open(str(path), "w") as container:
        encode_numbers(container, add_track(container, codec), range(NUM_FRAMES))


def in_order(path) -> np.ndarray:
    with av.open(str(path)) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return np.stack(pictures)


def assert_every_index_is_right(path, truth: np.ndarray) -> None:
    counted = probe(str(path))
    assert counted["num_frames"] == len(truth)
    order = list(range(len(truth)))
    random.Random(0).shuffle(order)
    for num_frames in (None, counted["num_frames"]):
        video = VideoReader(path, num_frames)
        wrong = [index for index in order if (video.read([index])[0] != truth[index]).any()]
        assert wrong == []
    several = order[:5]
    assert (VideoReader(path, len(truth)).read(several) == truth[several]).all()
    assert (np.stack(list(VideoReader(path).frames())) == truth).all()


@pytest.mark.parametrize(("suffix", "codec"), CASES)
def test_every_index_of_every_container_and_codec(tmp_path, suffix, codec):
    path = tmp_path / f"clip.{suffix}"
    write(path, codec)
    truth = in_order(path)
    assert len(truth) > NUM_FRAMES - 3
    assert_every_index_is_right(path, truth)


@pytest.mark.parametrize("codec", ["h264_closed", "h264_open", "mpeg4_b"])
@pytest.mark.parametrize("first", [12, 17])
def test_frames_before_a_cut_are_not_shown(tmp_path, codec, first):
    """A cut without encoding anew: packets from the key frame on, an edit list hides the rest."""
    whole = tmp_path / "whole.mp4"
    path = tmp_path / "cut.mp4"
    write(whole, codec)
    with av.open(str(whole)) as source, av.open(str(path), "w") as target:
        track = target.add_stream_from_template(source.streams.video[0])
        offset = int(Fraction(first, 25) / source.streams.video[0].time_base)
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.pts -= offset
                packet.dts -= offset
                packet.stream = track
                target.mux(packet)
    truth = in_order(path)
    assert len(truth) == NUM_FRAMES - first
    assert_every_index_is_right(path, truth)


def test_the_first_of_two_tracks_is_taken(tmp_path):
    path = tmp_path / "two.mp4"
    with av.open(str(path), "w") as container:
        small = add_track(container, "h264_open")
        large = add_track(container, "h264_closed", 128, 96)
        encode_numbers(container, small, range(NUM_FRAMES))
        encode_numbers(container, large, range(10))
    assert_every_index_is_right(path, in_order(path))


def test_turned_files(tmp_path):
    path = tmp_path / "turned.mp4"
    write(path, "h264_open")
    content = path.read_bytes()
    matrix = content.index(b"tkhd") + 4 + 40
    quarter = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 48 << 16, 0, 1 << 30)
    upright = in_order(path)
    path.write_bytes(content[:matrix] + quarter + content[matrix + 36 :])
    assert_every_index_is_right(path, np.rot90(upright, -1, axes=(1, 2)))


@pytest.mark.parametrize(("suffix", "codec"), [("mp4", "h264_open"), ("avi", "mpeg4")])
def test_few_frames_of_a_long_file_are_jumped_to(tmp_path, monkeypatch, suffix, codec):
    """Else the matrix above would prove reading in order alone."""
    path = tmp_path / f"clip.{suffix}"
    write(path, codec)
    truth = in_order(path)
    monkeypatch.setattr(reader_module.VideoReader, "_read_in_order", None)
    assert (VideoReader(path, len(truth)).read([40, 14]) == truth[[40, 14]]).all()


def test_an_index_that_calls_every_frame_a_key_frame(tmp_path):
    """Of AVI: a jump to where it points would show grey and what moved since."""
    path = tmp_path / "clip.avi"
    write(path, "mpeg4")
    truth = in_order(path)
    content = bytearray(path.read_bytes())
    index = content.rindex(b"idx1") + 8
    for entry in range(index, len(content) - 15, 16):
        content[entry + 4] |= 0x10
    path.write_bytes(content)
    assert_every_index_is_right(path, truth)


def test_a_size_that_changes_is_scaled_to_the_first(tmp_path):
    path = tmp_path / "change.ts"
    parts = [tmp_path / "one.ts", tmp_path / "two.ts"]
    for part, size in zip(parts, [(64, 48), (96, 64)], strict=True):
        with av.open(str(part), "w") as container:
            encode_numbers(container, add_track(container, "mpeg2_b", *size), range(12))
    path.write_bytes(parts[0].read_bytes() + parts[1].read_bytes())
    found = probe(str(path))
    assert "are scaled to its 64x48" in found["note"]
    assert "reason" not in found
    assert {frame.shape for frame in VideoReader(path).frames()} == {(48, 64, 3)}
    assert VideoReader(path).read([found["num_frames"] - 1, 0]).shape == (2, 48, 64, 3)


def test_broken_packets_are_passed_over_and_counted(tmp_path):
    path = tmp_path / "broken.mp4"
    write(path, "h264_closed")
    with av.open(str(path)) as container:
        spots = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    for position, size in spots[20:23]:
        content[position : position + size] = b"\xff" * size
    path.write_bytes(content)
    found = probe(str(path))
    assert "packets do not decode" in found["note"]
    assert "reason" not in found
    assert NUM_FRAMES - 10 < found["num_frames"] < NUM_FRAMES
    frames = list(VideoReader(path).frames())
    assert len(frames) == found["num_frames"]
    last = len(frames) - 1
    assert (VideoReader(path, len(frames)).read([last])[0] == frames[last]).all()


@pytest.mark.parametrize(
    ("suffix", "codec"), [("ts", "mpeg2_b"), ("mpg", "mpeg2_b"), ("flv", "h264_open")]
)
def test_cut_streams_are_told(tmp_path, suffix, codec):
    whole = tmp_path / f"whole.{suffix}"
    cut = tmp_path / f"cut.{suffix}"
    write(whole, codec)
    assert "reason" not in probe(str(whole))
    content = whole.read_bytes()
    cut.write_bytes(content[: len(content) * 2 // 3 + 1])
    assert "truncated" in probe(str(cut))["reason"]


@pytest.mark.parametrize("suffix", ["avi", "mkv", "mp4"])
def test_tags_that_are_not_utf8(tmp_path, suffix):
    path = tmp_path / f"tags.{suffix}"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "Cafe_"
        encode_numbers(container, add_track(container, "mpeg4_b"), range(12))
    content = path.read_bytes()
    assert b"Cafe_" in content
    path.write_bytes(content.replace(b"Cafe_", b"Caf\xe9_"))
    assert probe(str(path))["num_frames"] == len(list(VideoReader(path).frames())) == 12


def test_a_variable_rate_is_no_fault(tmp_path):
    """Of a screen recording: half of the time nothing moves and nothing is stored."""
    path = tmp_path / "variable.mkv"
    with av.open(str(path), "w") as container:
        encode_numbers(container, add_track(container, "vp9"), [*range(10), *range(30, 48, 6), 100])
    found = probe(str(path))
    assert found["num_frames"] == 14
    assert "reason" not in found


def test_moving_pictures_of_the_web(tmp_path):
    path = tmp_path / "moving.gif"
    with av.open(str(path), "w") as container:
        track = container.add_stream("gif", rate=25)
        track.width = 64
        track.height = 48
        track.pix_fmt = "rgb8"
        encode_numbers(container, track, range(12))
    assert probe(str(path))["num_frames"] == 12
