"""Studies: the rows of every model's table and the recipes that they name."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from sta_tsn.pipeline.options import TrainOptions
from sta_tsn.pipeline.studies import ROWS
from sta_tsn.pipeline.train import stage_arguments
from sta_tsn.runs.folder import stage_fingerprint

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
OPTIONS = TrainOptions(experiments=str(EXPERIMENTS))


@pytest.mark.parametrize("model", ROWS)
def test_a_stamp_holds_what_recipes_say_and_not_where_they_lie(model, tmp_path):
    """Else moving `experiments/` would have every run trained anew."""
    dataset = "sbu" if model == "sta_lstm" else "demo"
    here = replace(OPTIONS, model=model, dataset=dataset)
    moved = replace(here, experiments=str(tmp_path / "recipes"))
    shutil.copytree(EXPERIMENTS / "models", tmp_path / "recipes/models")
    shutil.copytree(EXPERIMENTS / "ablations", tmp_path / "recipes/ablations")
    shutil.copytree(EXPERIMENTS / "datasets", tmp_path / "recipes/datasets")
    for row in ROWS[model]:
        stamps = []
        for options in (here, moved):
            arguments = stage_arguments(row, options, Path("manifest.csv"), "videos")
            stamps.append(stage_fingerprint(arguments))
        assert stamps[0] == stamps[1], row.title
