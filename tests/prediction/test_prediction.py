"""Predictions of real checkpoints on real videos equal what testing said."""

import csv
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import CLASSES, clip
from huggingface_hub import ModelCard
from PIL import Image
from pytorch_lightning import Trainer
from tests_support import save_checkpoint, write_mini_experiments

import sta_tsn
from sta_tsn import models
from sta_tsn.cli import main
from sta_tsn.datasets import UCF101
from sta_tsn.datasets.demo import write_video
from sta_tsn.evaluation.scores import ScoreTable
from sta_tsn.models import TSN
from sta_tsn.prediction.checkpoints import load_stream
from sta_tsn.prediction.windows import Window, window_frames
from sta_tsn.tasks import InjectionBackbone, MotionBackbone, SkeletonAttention
from sta_tsn.tasks.backbone import FrameRecognition


@pytest.fixture(scope="module")
def runs(tmp_path_factory, mini_ucf101):
    """Train both stages in miniature, tested with other frames and crops than usual."""
    folder = tmp_path_factory.mktemp("predicted")
    experiments = write_mini_experiments(folder, mini_ucf101)
    backbone = folder / "backbone"
    options = [
        f"--config={experiments / 'models/sta_tsn' / 'sa_cnn_tsn.yaml'}",
        f"--config={experiments / 'datasets/mini' / 'backbone.yaml'}",
        f"--run_dir={backbone}",
        f"--data.manifest={folder / 'manifest.csv'}",
        "--trainer.max_epochs=2",
        "--trainer.accelerator=cpu",
        "--data.test_segments=2",
        "--data.test_frames_per_segment=4",
        "--data.mirror=false",
        "--data.keep_proportions=true",
        "--keep_features=true",
    ]
    assert main(["fit", *options]) == 0
    temporal = folder / "temporal"
    options = [
        f"--config={experiments / 'models/sta_tsn' / 'sta_tsn.yaml'}",
        f"--config={experiments / 'datasets/mini' / 'temporal.yaml'}",
        f"--run_dir={temporal}",
        f"--data.features={backbone / 'features'}",
        f"--model.backbone_checkpoint={backbone / 'checkpoints' / 'last.ckpt'}",
        "--trainer.max_epochs=1",
        "--trainer.accelerator=cpu",
        "--data.frames=[2,2]",
    ]
    assert main(["fit", *options]) == 0
    return folder


def checkpoint(runs, stage="temporal"):
    return runs / stage / "checkpoints" / "last.ckpt"


@pytest.mark.parametrize("stage", ["backbone", "temporal"])
def test_probabilities_of_test_videos_equal_those_of_the_score_table(runs, stage, mini_ucf101):
    table = ScoreTable.load(runs / stage)
    model = sta_tsn.load(checkpoint(runs, stage))
    assert model.streams[0].task.keeps_proportions
    for row, name in enumerate(table.ids):
        said = model.predict(mini_ucf101 / "UCF-101" / f"{name}.avi")
        expected = table.scores[row].softmax(0)
        assert np.allclose(said.probabilities, expected, atol=1e-4)
        assert said.label == CLASSES[int(expected.argmax())]
        assert said.probability == max(said.probabilities)


def own_data(runs, mini_ucf101, stage):
    """Return the data module that a user of the library would write for a run of the fixture."""
    if stage == "temporal":
        return sta_tsn.FeatureDataModule(
            str(runs / "backbone/features"), frames=(2, 2), num_workers=0
        )
    return sta_tsn.VideoDataModule(
        UCF101(str(mini_ucf101)),
        str(runs / "manifest.csv"),
        test_segments=2,
        test_frames_per_segment=4,
        mirror=False,
        keep_proportions=True,
        num_workers=0,
    )


@pytest.mark.parametrize("stage", ["backbone", "temporal"])
def test_ones_own_trainer_tests_and_predicts_as_the_suite_does(runs, stage, mini_ucf101):
    kinds = {
        "backbone": sta_tsn.SpatialAttentionBackbone,
        "temporal": sta_tsn.TemporalAttentionTSN,
    }
    task = kinds[stage].load_from_checkpoint(checkpoint(runs, stage))
    data = own_data(runs, mini_ucf101, stage)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(accelerator="cpu", **quiet)
    (measured,) = trainer.test(task, datamodule=data, verbose=False)
    table = ScoreTable.load(runs / stage)
    micro = table.summary["micro accuracy %"]
    assert measured["test/accuracy"] == pytest.approx(micro / 100, abs=1e-4)
    batches = trainer.predict(task, datamodule=data)
    said = torch.cat([batch["probabilities"] for batch in batches])
    expected = torch.as_tensor(table.scores).softmax(1)
    assert [data.test_videos[index]["id"] for index in range(len(said))] == list(table.ids)
    assert torch.cat([batch["index"] for batch in batches]).tolist() == list(range(len(said)))
    torch.testing.assert_close(said, expected, atol=1e-4, rtol=0)
    assert ("temporal_weights" in batches[0]) == (stage == "temporal")


@pytest.mark.parametrize("stage", ["backbone", "temporal"])
def test_a_published_run_answers_as_its_checkpoint_does(runs, stage, tmp_path, mini_ucf101):
    out = tmp_path / "published"
    assert main(["publish", str(runs / stage), str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    video = next(mini_ucf101.glob("UCF-101/*/*.avi"))
    said = sta_tsn.load(out).predict(video, crops=1)
    expected = sta_tsn.load(checkpoint(runs, stage)).predict(video, crops=1)
    assert said.probabilities == expected.probabilities
    assert main(["publish", str(runs / stage), str(out)]) == 1


def test_every_finished_run_has_a_card_with_its_numbers(runs):
    card = ModelCard.load(runs / "temporal" / "README.md", ignore_metadata_errors=False)
    table = ScoreTable.load(runs / "temporal")
    (result,) = card.data.eval_results
    assert result.metric_value == table.summary["micro accuracy %"]
    assert card.data.pipeline_tag == "video-classification"
    assert f"of {len(table.ids)} test videos are recognised (95 % interval" in card.text
    assert "Classes: Jump, Run, Sit." in card.text


def test_folders_that_are_not_published_are_one_sentence(tmp_path, capsys):
    (tmp_path / "config.json").write_text("{")
    assert main(["predict", "a.mp4", "--checkpoint", str(tmp_path)]) == 1
    assert "damaged or no published network" in capsys.readouterr().err
    (tmp_path / "config.json").unlink()
    assert main(["predict", "a.mp4", "--checkpoint", str(tmp_path)]) == 1
    assert "has no config.json" in capsys.readouterr().err


def test_two_checkpoints_answer_with_their_mean_class_scores(runs, mini_ucf101):
    tables = [ScoreTable.load(runs / stage) for stage in ("backbone", "temporal")]
    model = sta_tsn.load(checkpoint(runs, "backbone"), checkpoint(runs))
    said = model.predict(mini_ucf101 / "UCF-101" / f"{tables[0].ids[0]}.avi")
    expected = ((tables[0].scores[0] + tables[1].scores[0]) / 2).softmax(0)
    assert np.allclose(said.probabilities, expected, atol=1e-4)


def test_files_folders_and_lists_are_predicted_and_the_unreadable_named(
    runs, mini_ucf101, tmp_path, capsys
):
    videos = tmp_path / "clips"
    (videos / "below").mkdir(parents=True)
    real = sorted(mini_ucf101.glob("UCF-101/*/*.avi"))
    shutil.copy(real[0], videos / "below" / "[one].avi")
    (videos / "broken.mp4").write_bytes(b"no video at all")
    (videos / "notes.txt").write_text("neither a video nor a list that was asked for")
    (tmp_path / "list.txt").write_text(
        f"clips/below/[one].avi\n{real[1]}\nhttps://a.example/b.mp4\n"
    )
    where = [str(videos), str(tmp_path / "list.txt")]
    given = [
        f"--checkpoint={checkpoint(runs)}",
        "--top=2",
        "--crops=1",
        f"--out={tmp_path / 'out'}",
    ]
    assert main(["predict", *where, *given]) == 0
    written = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [video["video"] for video in written["videos"]] == [
        str(videos / "below" / "[one].avi"),
        str(real[1]),
    ]
    assert [video["video"] for video in written["unreadable"]] == [
        str(videos / "broken.mp4"),
        "https://a.example/b.mp4",
    ]
    assert "download" in written["unreadable"][1]["reason"]
    with open(tmp_path / "out" / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["rank"] for row in rows] == ["1", "2", "1", "2"]
    assert "2 of 4 videos could not be read" in capsys.readouterr().out


def test_windows_of_a_long_video_say_what_is_in_each(runs, tmp_path):
    """Three seconds of one colour after another: a window says what its frames alone say."""
    parts = [clip(label, seed=label, num_frames=30) for label in range(3)]
    write_video(tmp_path / "long.mkv", np.concatenate(parts), codec="ffv1", pixel_format="bgr0")
    model = sta_tsn.load(checkpoint(runs))
    fps = sta_tsn.prediction.predictor._probed(str(tmp_path / "long.mkv"))["fps"]
    segments = list(model.predict_windows(tmp_path / "long.mkv", 30 / fps, crops=1))
    assert [round(segment.start_sec * fps) for segment in segments] == [0, 30, 60]
    for number, (part, segment) in enumerate(zip(parts, segments, strict=True)):
        alone = tmp_path / f"{number}.mkv"
        write_video(alone, part, codec="ffv1", pixel_format="bgr0")
        said = model.predict(alone, crops=1)
        assert segment.label == said.label
        assert segment.probability == pytest.approx(said.probability, abs=1e-4)


def test_overlapping_windows_end_with_the_video():
    windows = window_frames(num_frames=100, fps=10, window_sec=4, stride_sec=2.5)
    assert windows == [Window(0, 40), Window(25, 65), Window(50, 90), Window(60, 100)]
    assert window_frames(num_frames=5, fps=10, window_sec=4, stride_sec=1) == [Window(0, 5)]


def test_what_a_checkpoint_is_of_is_told_from_its_settings_whatever_its_name(tmp_path):
    smnet = MotionBackbone(["a", "b"], "resnet18", "none")
    stin = InjectionBackbone(["a", "b"], "test_resnet", "none", pair_distance=5)
    for task, system in ((smnet, "SMNet"), (stin, "STIN")):
        path = tmp_path / "sta_tsn.ckpt"
        save_checkpoint(path, task, frames=[8, 1])
        stream = load_stream(path)
        assert stream.task.system == system
        assert stream.sampled == stream.read == (8, 1)
    assert stream.pair_distance == 5


@pytest.mark.parametrize("stage", ["backbone", "temporal"])
def test_old_checkpoints_are_shown_videos_as_their_runs_configuration_says(
    runs, stage, tmp_path, mini_ucf101
):
    """Before they said it themselves, ten mirrored crops of 3 x 10 frames were taken for all."""
    for part in ("backbone", "temporal"):
        (tmp_path / part / "checkpoints").mkdir(parents=True)
        shutil.copy(runs / part / "config.yaml", tmp_path / part)
    old = checkpoint(tmp_path, stage)
    without_its_data(checkpoint(runs, stage), old)
    stream = load_stream(old)
    assert (stream.sampled, stream.mirror, stream.note) == ((2, 4), False, "")
    table = ScoreTable.load(runs / stage)
    said = sta_tsn.load(old).predict(mini_ucf101 / "UCF-101" / f"{table.ids[0]}.avi")
    assert np.allclose(said.probabilities, table.scores[0].softmax(0), atol=1e-4)


def test_old_checkpoints_alone_say_what_is_taken_for_granted(runs, tmp_path):
    alone = tmp_path / "alone.ckpt"
    without_its_data(checkpoint(runs), alone)
    stream = load_stream(alone)
    assert stream.sampled == (3, 10)
    assert "does not say how its test videos were shown" in stream.note


def test_old_checkpoints_of_smnet_see_eight_frames(tmp_path):
    save_checkpoint(tmp_path / "smnet.ckpt", MotionBackbone(["a", "b"], "resnet18", "none"))
    without_its_data(tmp_path / "smnet.ckpt", tmp_path / "old.ckpt")
    stream = load_stream(tmp_path / "old.ckpt")
    assert stream.sampled == stream.read == (8, 1)


def without_its_data(new, old) -> None:
    """Write a checkpoint as versions did that kept nothing of the data module in it."""
    state = torch.load(new, weights_only=True)
    for name in ("VideoDataModule", "FeatureDataModule"):
        state.pop(name, None)
    torch.save(state, old)


def test_predicting_prints_no_warnings_and_imports_no_training(runs, tmp_path):
    """GIFs count as videos in a folder, and what torch deprecates is no user's concern."""
    frames = [Image.fromarray(frame) for frame in clip(1, seed=3)]
    frames[0].save(tmp_path / "run.gif", save_all=True, append_images=frames[1:], duration=40)
    python = [sys.executable, "-X", "importtime"]
    command = [*python, "-m", "sta_tsn", "predict", str(tmp_path), "--crops=1"]
    done = subprocess.run(
        [*command, f"--checkpoint={checkpoint(runs)}"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "run.gif" in done.stdout
    imports = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    said = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert "Warning" not in "\n".join(said)
    imported = {line.rpartition("|")[2].strip() for line in imports}
    assert "sta_tsn.prediction.predictor" in imported
    assert not imported & {"pytorch_lightning", "albumentations", "matplotlib", "pandas"}


def test_a_network_that_is_new_in_models_is_predicted_with(monkeypatch, tmp_path):
    """Its checkpoint says which class it is; TSN has the same settings and another consensus."""

    class Consensus(TSN):
        pass

    monkeypatch.setattr(models, "Consensus", Consensus, raising=False)
    monkeypatch.setattr(models, "__all__", [*models.__all__, "Consensus"])
    save_checkpoint(
        tmp_path / "new.ckpt", FrameRecognition(Consensus(2, "test_resnet"), ["a", "b"])
    )
    assert type(load_stream(tmp_path / "new.ckpt").task.model) is Consensus


def test_a_network_of_another_version_is_one_sentence(tmp_path, capsys):
    class Unknown(TSN):
        pass

    save_checkpoint(tmp_path / "new.ckpt", FrameRecognition(Unknown(2, "test_resnet"), ["a", "b"]))
    assert main(["predict", "a.mp4", "--checkpoint", str(tmp_path / "new.ckpt")]) == 1
    assert "no network 'Unknown'" in capsys.readouterr().err


def test_checkpoints_of_something_else_are_one_sentence(tmp_path, capsys):
    class Evil:
        def __reduce__(self):
            return (print, ("code of a stranger",))

    torch.save({"state_dict": Evil()}, tmp_path / "evil.ckpt")
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "weights.ckpt")
    torch.save({"state_dict": {}, "hyper_parameters": {"lr": 1}}, tmp_path / "other.ckpt")
    save_checkpoint(tmp_path / "joints.ckpt", SkeletonAttention(["a", "b"], num_joints=4))
    expected = {
        "absent": "no such checkpoint",
        "evil": "could run code",
        "weights": "weights without a network's settings",
        "other": "of something else",
        "joints": "skeletons",
    }
    for name, sentence in expected.items():
        assert main(["predict", "a.mp4", "--checkpoint", str(tmp_path / f"{name}.ckpt")]) == 1
        said = capsys.readouterr()
        assert sentence in said.err
        assert said.err.count("\n") == 1
        assert "stranger" not in said.out


def test_the_version_is_the_packages(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.strip() == f"sta-tsn {sta_tsn.__version__}"
