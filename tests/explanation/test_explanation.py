"""Pages of real videos by real checkpoints: what they say, hold and leave out."""

import json
import shutil

import av
import numpy as np
import pytest
import torch
from conftest import CLASSES, clip

import sta_tsn
from sta_tsn.attention.explain import Explained
from sta_tsn.cli import main
from sta_tsn.datasets.demo import write_video
from sta_tsn.explanation.bars import bars_of
from sta_tsn.explanation.encoding import shown_size
from sta_tsn.explanation.explained_video import ExplainedStream
from sta_tsn.explanation.explanation_page import ticks
from sta_tsn.explanation.heat import Heat
from sta_tsn.explanation.sentences import effective_share, when_sentence, where_sentence
from sta_tsn.models import ActionOutput
from sta_tsn.tasks import MotionBackbone, SpatialAttentionBackbone, TemporalAttentionTSN
from sta_tsn.video.timed_frames import duration_sec, frame_times

SMALL = {"name": "test_resnet", "options": {"output_stride": 16}}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Return untrained networks of each kind as checkpoints; what they say is the networks' own."""
    folder = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(0)
    two = {"num_classes": 3, "backbone": SMALL, "weights": "none"}
    tasks = {
        "sta_tsn": TemporalAttentionTSN(list(CLASSES), network=two, hidden_dim=8),
        "sa_cnn": SpatialAttentionBackbone(list(CLASSES), SMALL, "none"),
        "smnet": MotionBackbone(list(CLASSES), "resnet18", "none"),
    }
    for name, task in tasks.items():
        state = {
            "state_dict": task.state_dict(),
            "hyper_parameters": dict(task.hparams),
            "pytorch-lightning_version": "2.6.0",
            "VideoDataModule": {"frames": [8, 1] if name == "smnet" else [2, 3]},
        }
        torch.save(state, folder / f"{name}.ckpt")
    return folder


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "<script>alert(1)</script>.mp4".replace(
        "/", "\u2044"
    )
    write_video(path, clip(1, seed=1, num_frames=30), codec="libx264")
    return path


@pytest.fixture(scope="module")
def explained_video(checkpoints, video, tmp_path_factory):
    """Return the folder of what is written of the video by STA-TSN."""
    folder = tmp_path_factory.mktemp("explained")
    return explained(folder / "out", video, "--checkpoint", checkpoints / "sta_tsn.ckpt")


def explained(folder, *arguments):
    assert main(["explain", *map(str, arguments), f"--out={folder}"]) == 0
    return folder


def test_a_page_holds_everything_it_shows_and_names_are_text(explained_video):
    (page,) = explained_video.glob("*.html")
    text = page.read_text()
    assert "data:video/mp4;base64," in text
    assert "http://" not in text
    assert "https://" not in text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text
    assert sorted(path.suffix for path in explained_video.iterdir()) == [
        ".html",
        ".json",
        ".mp4",
        ".png",
        ".svg",
    ]


def test_the_numbers_are_the_networks(checkpoints, video, explained_video):
    (path,) = explained_video.glob("*.json")
    numbers = json.loads(path.read_text())
    said = sta_tsn.load(checkpoints / "sta_tsn.ckpt").predict(video, crops=1)
    assert numbers["answer"][0]["label"] == said.label
    shares = list(numbers["probabilities"].values())
    assert np.allclose(shares, said.probabilities, atol=1e-3)
    frames = numbers["streams"][0]["frames"]
    assert [frame["segment"] for frame in frames] == [1, 1, 1, 2, 2, 2]
    assert sum(frame["beta"] for frame in frames) == pytest.approx(2, abs=1e-4)
    assert np.sum(frames[0]["alpha"]) == pytest.approx(1, abs=1e-4)
    assert [frame["time_sec"] for frame in frames] == pytest.approx(
        [frame["frame"] / 25 for frame in frames]
    )


def test_the_annotated_video_lasts_as_long_as_the_original(video, explained_video):
    (path,) = explained_video.glob("*.mp4")
    assert frame_times(str(path)) == pytest.approx(frame_times(str(video)), abs=0.002)
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "h264"


def test_two_checkpoints_stand_side_by_side(checkpoints, video, tmp_path):
    given = ["--checkpoint", checkpoints / "sta_tsn.ckpt", "--and", checkpoints / "smnet.ckpt"]
    out = explained(tmp_path / "out", video, *given)
    (page,) = out.glob("*.html")
    text = page.read_text()
    assert text.count('<section class="stream"') == 2
    assert text.count("data:video/mp4") == 1
    assert "STA-TSN on test_resnet" in text
    assert "SMNet on resnet18" in text
    both = sta_tsn.load(checkpoints / "sta_tsn.ckpt", checkpoints / "smnet.ckpt")
    (path,) = out.glob("*.json")
    shares = list(json.loads(path.read_text())["probabilities"].values())
    assert np.allclose(shares, both.predict(video, crops=1).probabilities, atol=1e-3)


def test_stage_one_says_what_each_frame_alone_says(checkpoints, video, tmp_path):
    out = explained(tmp_path / "out", video, "--checkpoint", checkpoints / "sa_cnn.ckpt")
    (path,) = out.glob("*.json")
    stream = json.loads(path.read_text())["streams"][0]
    assert "no temporal attention" in stream["when"]
    assert len(stream["frames"]) == 6
    assert all(0 < frame["probability_of_answer_alone"] < 1 for frame in stream["frames"])


def test_a_folder_gets_a_list_and_the_unreadable_are_named(checkpoints, video, tmp_path, capsys):
    videos = tmp_path / "videos"
    (videos / "below").mkdir(parents=True)
    shutil.copy(video, videos / "a & b.mp4")
    shutil.copy(video, videos / "below" / "a & b.mp4")
    (videos / "<b>.mp4").write_bytes(b"no video")
    out = explained(tmp_path / "out", videos, "--checkpoint", checkpoints / "sta_tsn.ckpt")
    text = (out / "index.html").read_text()
    assert 'href="a_%26_b.html"' in text or 'href="a_&amp;_b.html"' in text
    assert (out / "a_&_b.html").exists()
    assert (out / "a_&_b-2.html").exists()
    assert "&lt;b&gt;.mp4" in text
    assert "<b>" not in text
    assert "not explained" in capsys.readouterr().out


def test_the_positional_form_draws_the_figure_alone(checkpoints, video, tmp_path, capsys):
    picture = tmp_path / "drawn.png"
    arguments = ["explain", str(video), str(checkpoints / "sa_cnn.ckpt"), f"--out={picture}"]
    assert main(arguments) == 0
    assert picture.exists()
    assert len(list(tmp_path.iterdir())) == 1
    assert main(["explain", "one.mp4", "two.mp4", "three.mp4"]) == 1
    assert "--checkpoint" in capsys.readouterr().err


def stream(beta=None, alpha=None, indices=((2, 4, 6, 8),), frame_probabilities=None):
    """Return what a network would have said: beta (N, T), alpha (N, T, h, w)."""
    output = ActionOutput(
        torch.zeros(1, 2),
        None if alpha is None else torch.tensor(alpha)[None],
        None if beta is None else torch.tensor(beta)[None],
    )
    indices = torch.tensor(indices)
    pictures = np.zeros((indices.numel(), 8, 8, 3), np.uint8)
    explained = Explained(pictures, indices, output)
    return ExplainedStream("STA-TSN", "RGB", explained, np.array([0.9, 0.1]), frame_probabilities)


TIMES = [0.1 * frame for frame in range(10)]


def test_the_moment_that_counts_is_named_in_seconds():
    said = when_sentence(stream(beta=[[0.1, 0.1, 0.7, 0.1]]), TIMES, 0)
    assert "0.60 s counts most" in said
    assert "2.8 times" in said


def test_uniform_attention_is_called_so():
    alpha = np.full((1, 4, 3, 3), 1 / 9, np.float32)
    said = stream(beta=[[0.26, 0.24, 0.26, 0.24]], alpha=alpha)
    assert "attention is close to uniform here" in when_sentence(said, TIMES, 0)
    assert "attention is close to uniform here" in where_sentence(said)


@pytest.mark.parametrize(
    ("row", "column", "place"),
    [(0, 2, "top right"), (1, 1, "middle"), (2, 1, "bottom"), (1, 0, "left")],
)
def test_the_place_that_is_looked_at_is_named(row, column, place):
    alpha = np.full((1, 4, 3, 3), 0.02, np.float32)
    alpha[..., row, column] = 0.84
    assert f"most at the {place} of" in where_sentence(stream(alpha=alpha))


def test_effective_share_is_one_for_uniform_and_one_nth_for_a_single_one():
    assert effective_share(np.full((3, 5), 0.2)) == pytest.approx(1)
    assert effective_share(np.eye(5)) == pytest.approx(0.2)


def test_bars_cover_the_video_and_frames_seen_twice_share_their_place():
    seen = stream(beta=[[0.1, 0.2, 0.3, 0.4]], indices=((0, 4, 4, 8),))
    bars = bars_of(seen, TIMES, 1.0, 0)
    assert [bar.start_sec for bar in bars] == pytest.approx([0, 0.2, 0.4, 0.6])
    assert [bar.end_sec for bar in bars] == pytest.approx([0.2, 0.4, 0.6, 1.0])
    assert [bar.time_sec for bar in bars] == pytest.approx([0, 0.4, 0.4, 0.8])


def test_attention_between_two_frames_is_interpolated():
    alpha = np.zeros((1, 2, 2, 2), np.float32)
    alpha[0, 0, 0, 0] = 1
    alpha[0, 1, 1, 1] = 1
    heat = Heat(stream(alpha=alpha, indices=((0, 4),)))
    assert heat.at(0)[0, 0] == pytest.approx(heat.values[0, 0, 0].clip(0, 1))
    assert heat.at(1)[0, 0] == pytest.approx(3 * heat.at(1)[1, 1], rel=1e-4)
    assert np.array_equal(heat.at(9), heat.at(4))


def test_frames_of_a_gif_have_their_own_times(tmp_path):
    from PIL import Image

    frames = [Image.fromarray(frame) for frame in clip(0, seed=0, num_frames=4)]
    lasting = [100, 400, 100, 200]
    path = tmp_path / "slow.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=lasting)
    times = frame_times(str(path))
    assert times == pytest.approx([0, 0.1, 0.5, 0.6], abs=0.011)
    assert duration_sec(times) == pytest.approx(0.8, abs=0.02)


def test_pictures_are_shown_in_proportion_and_even():
    assert shown_size(1920, 1080) == (360, 640)
    assert shown_size(240, 321) == (320, 240)
    assert shown_size(1, 1) == (2, 2)


@pytest.mark.parametrize("duration", [0.04, 1.33, 9.9, 61, 600])
def test_ticks_are_few_and_within_the_video(duration):
    found = ticks(duration)
    assert found[0] == 0
    assert found[-1] <= duration
    assert 2 < len(found) < 9
