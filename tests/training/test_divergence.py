"""Training whose numbers go wrong ends with a sentence and the names of what was in the step."""

import json
from pathlib import Path

import pytest
from tests_support import write_mini_experiments

from sta_tsn.cli import main


@pytest.fixture(scope="module")
def arguments(tmp_path_factory, mini_ucf101) -> list[str]:
    folder = tmp_path_factory.mktemp("diverged")
    experiments = write_mini_experiments(folder, mini_ucf101)
    return [
        "fit",
        f"--config={experiments / 'models/sta_tsn/cnn.yaml'}",
        f"--config={experiments / 'datasets/mini/backbone.yaml'}",
        f"--data.manifest={folder / 'manifest.csv'}",
        "--trainer.max_epochs=1",
        "--model.input_px=64",
        "--test=false",
    ]


def names_of_training(mini_ucf101: Path) -> set[str]:
    listed = (mini_ucf101 / "ucfTrainTestlist/trainlist01.txt").read_text().splitlines()
    return {line.split(".")[0] for line in listed}


def test_a_gradient_that_is_not_finite_ends_training_and_names_the_videos(
    arguments, mini_ucf101, tmp_path, capsys
):
    run = tmp_path / "run"
    assert main([*arguments, f"--run_dir={run}", "--model.lr=1e30"]) == 1
    said = capsys.readouterr().err
    assert "is not finite, and training ends here" in said
    assert "model.lr, here 1e+30" in said
    assert said.count("\n") == 1
    left = json.loads((run / "not_finite.json").read_text())
    assert len(left["videos"]) == 4  # the batch
    assert set(left["videos"]) <= names_of_training(mini_ucf101)
    assert not (run / "scores.npz").exists()


def test_an_epoch_far_above_guessing_is_said(arguments, tmp_path, capsys):
    changed = ["--model.lr=300", "--trainer.gradient_clip_val=1"]
    assert main([*arguments, f"--run_dir={tmp_path / 'run'}", *changed]) == 0
    said = capsys.readouterr().out
    assert "guessing alone has 1.1. Training diverges: lower the learning rate" in said
    assert not (tmp_path / "run/not_finite.json").exists()


def test_a_usual_training_says_nothing(arguments, tmp_path, capsys):
    assert main([*arguments, f"--run_dir={tmp_path / 'run'}"]) == 0
    assert "diverge" not in capsys.readouterr().out
