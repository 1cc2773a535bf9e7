"""Clips among unrelated frames: where they lie, what is seen of them, and the whole command."""

import shutil
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from sta_tsn.cli import main
from sta_tsn.datasets.demo import write_video
from sta_tsn.errors import ConfigError, DatasetError
from sta_tsn.features.frozen_encoder import FrozenEncoder
from sta_tsn.features.frozen_features import FramesOfVideo, FrozenFeatures, spread_evenly
from sta_tsn.interference.fitting import FitSettings, fit, scores_and_weights
from sta_tsn.interference.footage import divide, list_footage
from sta_tsn.interference.measures import found_in_segments, found_in_videos
from sta_tsn.interference.rows import BETA, MEAN, ORACLE, ROWS
from sta_tsn.interference.spliced_files import largest_difference
from sta_tsn.interference.spliced_set import SplicedSet
from sta_tsn.interference.splicing import SHARES, frame_at, lay
from sta_tsn.pipeline.interference import read_settings
from sta_tsn.pipeline.options import TrainOptions
from sta_tsn.report.interference import way_verdict
from sta_tsn.video import VideoReader


def write_clip(path: Path, num_frames: int, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    frames = generator.integers(0, 255, (num_frames, 48, 64, 3), dtype=np.uint8)
    write_video(path, frames, codec="ffv1", pixel_format="bgr0")
    return path


@pytest.fixture
def footage_folder(tmp_path) -> Path:
    for number in range(4):
        write_clip(tmp_path / "footage" / f"v_Sea_g{number}_c01.mkv", 6 + number, 50 + number)
    return tmp_path / "footage"


@pytest.mark.parametrize("share", SHARES)
def test_the_share_of_unrelated_frames_is_the_one_asked_for(share):
    for seed in range(20):
        splice = lay(30, share, [7, 9, 11], [seed])
        own = sum(splice.is_clip(frame) for frame in range(splice.length))
        assert own == 30
        assert Fraction(splice.length - own, splice.length) == share


def test_a_clip_lies_anywhere_and_at_the_same_relative_place_for_every_share():
    places = set()
    for seed in range(50):
        splices = [lay(30, share, [7, 9], [seed]) for share in SHARES[1:]]
        room = [splice.length - 30 + 1 for splice in splices]
        relative = [splice.first / width for splice, width in zip(splices, room, strict=True)]
        assert max(relative) - min(relative) < 1 / 15
        places.add(splices[-1].first)
    assert min(places) < 15 < 135 < max(places)


def test_footage_that_ends_begins_anew_and_the_clip_runs_through_once():
    splice = lay(10, Fraction(5, 6), [4, 4], [3])
    shown = [
        frame_at(
            splice, index, list(range(10)), [["a0", "a1", "a2", "a3"], ["b0", "b1", "b2", "b3"]]
        )
        for index in range(splice.length)
    ]
    assert [one for one in shown if isinstance(one, int)] == list(range(10))
    before = shown[: splice.first]
    assert {one[0] for one in before} == {"ab"[splice.before]}
    steps = {(int(b[1]) - int(a[1])) % 4 for a, b in pairwise(before)}
    assert steps == {1}


def test_no_source_of_footage_is_on_both_sides(tmp_path):
    for source in range(5):
        for clip in range(2):
            path = tmp_path / "Sea" / f"v_Sea_g{source}_c{clip:02d}.avi"
            path.parent.mkdir(exist_ok=True)
            path.touch()
    footage = list_footage([tmp_path / "Sea"])
    train, test = divide(footage, seed=1)
    assert len(train) + len(test) == 10
    assert not {video.source for video in train} & {video.source for video in test}


def test_too_little_footage_is_refused_by_name(tmp_path):
    with pytest.raises(DatasetError, match=r"no folder .*nowhere"):
        list_footage([tmp_path / "nowhere"])
    (tmp_path / "one.mp4").touch()
    with pytest.raises(DatasetError, match="1 videos of 1 sources"):
        list_footage([tmp_path])


def test_features_of_really_spliced_files_are_the_spliced_features(tmp_path, footage_folder):
    def stored(name: str, files: list[Path]) -> tuple[list[FramesOfVideo], FrozenFeatures]:
        videos = []
        for file in files:
            count = len(VideoReader(file))
            videos.append(FramesOfVideo(file.stem, file, count, spread_evenly(range(count), 8)))
        features = FrozenFeatures(tmp_path / name, FrozenEncoder("test_resnet", "none"))
        features.write_all(videos)
        return videos, features

    clips = [write_clip(tmp_path / "clips" / f"{n}.mkv", 9, n) for n in range(2)]
    of_clips = stored("clip_features", clips)
    of_footage = stored("footage_features", sorted(footage_folder.iterdir()))
    assert largest_difference(*of_clips, *of_footage, Fraction(2, 3)) < 1e-3


def made_set(num_videos: int, seed: int) -> SplicedSet:
    """Return videos of two classes whose key frames alone tell the class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.zeros(num_videos, 2)
    labels[torch.arange(num_videos), torch.arange(num_videos) % 2] = 1
    features = 0.3 * torch.randn(num_videos, 3, 10, 8, generator=generator)
    key_frames = torch.zeros(num_videos, 30, dtype=torch.bool)
    for video, start in enumerate(torch.randint(21, (num_videos,), generator=generator).tolist()):
        key_frames[video, start : start + 10] = True
    key_frames = key_frames.view(num_videos, 3, 10)
    own = torch.zeros(num_videos, 1, 1, 8)
    own[:, 0, 0, :2] = labels
    own[:, 0, 0, 7] = 2  # says that a frame is a clip's
    features = features + own * key_frames[..., None]
    names = [str(video) for video in range(num_videos)]
    return SplicedSet(names, names, labels, features, key_frames)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_learns_and_its_weights_sum_to_one(row):
    train = made_set(60, 0)
    test = made_set(30, 1)
    settings = FitSettings(iterations=120, batch_size=20, lr=0.02, dropout=0.0, hidden_dim=8)
    model = fit(row, train, train.key_frames, settings, seed=0)
    scores, weights = scores_and_weights(model, test)
    assert (scores.argmax(1) == test.labels.argmax(1)).float().mean() > 0.8
    assert torch.allclose(weights.sum((1, 2)), torch.ones(30), atol=1e-5)


def test_a_fit_repeats_to_the_last_bit():
    train = made_set(40, 0)
    settings = FitSettings(iterations=10, batch_size=16, hidden_dim=8)
    first, second = (
        scores_and_weights(fit(BETA, train, train.key_frames, settings, seed=3), train)[0]
        for _ in range(2)
    )
    assert torch.equal(first, second)


def test_recall_is_one_for_the_oracle_and_chance_for_equal_weights():
    videos = made_set(2000, 2)
    settings = FitSettings(iterations=1, batch_size=16, hidden_dim=8)
    _, of_oracle = scores_and_weights(fit(ORACLE, videos, None, settings, 0), videos)
    _, equal = scores_and_weights(fit(MEAN, videos, None, settings, 0), videos)
    assert found_in_videos(of_oracle, videos.key_frames).recall.found.min() == 1
    for measure in (found_in_videos, found_in_segments):
        found, chance = measure(equal, videos.key_frames).recall
        assert float(found.mean()) == pytest.approx(float(chance.mean()), abs=0.01)


def test_a_goal_missed_says_by_how_many_points_of_the_way():
    assert way_verdict(27.4, 35.7, 51.2).endswith("Goal 60 %: missed by 25.1 points.")
    assert way_verdict(20.0, 40.0, 50.0).endswith("Goal 60 %: reached.")


def test_the_recipes_name_a_backbone_and_the_command_line_counts():
    experiments = Path(__file__).parents[2] / "experiments"
    of_demo = read_settings(TrainOptions(dataset="demo", experiments=str(experiments)))
    assert (of_demo.backbone, of_demo.unrelated) == ("test_resnet", ())
    options = TrainOptions(
        dataset="jhmdb", experiments=str(experiments), weights="none", unrelated=("other",)
    )
    of_jhmdb = read_settings(options)
    assert of_jhmdb.backbone == "mobilenetv2_100"
    assert (of_jhmdb.weights, of_jhmdb.unrelated) == ("none", ("other",))


def test_a_wrong_key_in_a_recipe_is_named_with_the_nearest(tmp_path):
    folder = tmp_path / "datasets" / "demo"
    folder.mkdir(parents=True)
    (folder / "interference.yaml").write_text("{backbone: test_resnet, fit: {iteration: 3}}")
    with pytest.raises(ConfigError, match=r"fit\.iteration.*fit\.iterations"):
        read_settings(TrainOptions(dataset="demo", experiments=str(tmp_path)))


def test_one_command_makes_the_curve_and_repeated_fits_nothing(
    tmp_path, mini_ucf101, footage_folder, capsys, monkeypatch
):
    experiments = tmp_path / "experiments"
    mini = experiments / "datasets" / "demo"
    mini.mkdir(parents=True)
    (mini / "backbone.yaml").write_text(
        "data: {init_args: {dataset: {class_path: sta_tsn.datasets.UCF101}}}\n"
    )
    (mini / "interference.yaml").write_text(
        "{backbone: test_resnet, weights: none, fit: {iterations: 3, batch_size: 4, hidden_dim: 4}}"
    )
    arguments = ["reproduce", "--model", "interference", "--dataset", "demo"]
    arguments += ["--experiments", str(experiments), "--data", str(mini_ucf101)]
    arguments += ["--runs", str(tmp_path / "runs"), "--unrelated", str(footage_folder)]
    monkeypatch.setattr("sta_tsn.report.interference.NUM_DRAWS", 200)
    assert main(arguments) == 0
    report = tmp_path / "runs" / "demo" / "report" / "interference"
    assert {path.name for path in report.iterdir()} >= {"curve.png", "report.md", "runs.csv"}
    assert "2/3 unrelated" in (report / "report.md").read_text()
    kept = tmp_path / "kept" / "demo" / "interference" / "answers.npz"
    kept.parent.mkdir(parents=True)
    shutil.copy(report / "answers.npz", kept)
    told = ["report", "--model", "interference", "--dataset", "demo"]
    assert main([*told, "--runs", str(tmp_path / "kept")]) == 0
    again = tmp_path / "kept" / "demo" / "report" / "interference"
    for name in ("report.md", "runs.csv", "key_frames.csv", "curve.png"):
        assert (again / name).read_bytes() == (report / name).read_bytes()
    capsys.readouterr()
    assert main(arguments) == 0
    assert "seed 0 ..." not in capsys.readouterr().out
    shutil.rmtree(tmp_path / "runs" / "demo" / "interference" / "split1" / "share_2_3")
    assert main(arguments) == 0
    assert capsys.readouterr().out.count("seed 0 ...") == 1


def test_the_kept_answers_of_jhmdb_give_the_committed_report_to_the_byte(tmp_path):
    committed = Path(__file__).parents[2] / "experiments/results/jhmdb/interference"
    place = tmp_path / "jhmdb" / "interference"
    place.mkdir(parents=True)
    shutil.copy(committed / "answers.npz", place)
    arguments = ["report", "--model", "interference", "--dataset", "jhmdb"]
    assert main([*arguments, "--runs", str(tmp_path)]) == 0
    made = tmp_path / "jhmdb" / "report" / "interference"
    for name in ("report.md", "accuracy.csv", "differences.csv", "key_frames.csv"):
        assert (made / name).read_bytes() == (committed / name).read_bytes()
