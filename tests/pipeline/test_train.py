"""What one process of `make train` and `make reproduce` does once, whatever its stages do."""

from functools import wraps
from pathlib import Path

import pytest

from sta_tsn.datasets import UCF101
from sta_tsn.pipeline import reproduce as reproduction
from sta_tsn.pipeline import train as training
from sta_tsn.pipeline.options import TrainOptions

EXPERIMENTS = str(Path(__file__).parents[2] / "experiments")


@pytest.fixture
def started(monkeypatch) -> list[list[str]]:
    """Return the command lines of the stages, none of which really runs."""
    commands: list[list[str]] = []
    monkeypatch.setattr(training, "run_command", lambda arguments: commands.append(arguments) or 0)
    monkeypatch.setattr(training, "_report", lambda options, dataset, videos: None)
    monkeypatch.setattr(reproduction, "report", lambda options: None)
    return commands


def test_the_dataset_is_opened_once_however_many_seeds(mini_ucf101, tmp_path, monkeypatch, started):
    opened = []
    constructor = UCF101.__init__

    @wraps(constructor)
    def counted(self, *arguments, **settings):
        opened.append(self)
        constructor(self, *arguments, **settings)

    monkeypatch.setattr(UCF101, "__init__", counted)
    options = TrainOptions(
        dataset="ucf101",
        data=str(mini_ucf101),
        model="stin",
        runs=str(tmp_path),
        experiments=EXPERIMENTS,
    )
    reproduction.reproduce(options, None, [0, 1])
    assert len(started) == 4  # two rows, two seeds
    assert len(opened) == 1
