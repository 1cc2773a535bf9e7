"""Studies: the rows of every model's table and the recipes that they name."""

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from sta_tsn.errors import ConfigError
from sta_tsn.pipeline.model_check import check_model
from sta_tsn.pipeline.options import TrainOptions
from sta_tsn.pipeline.stages import stage_arguments
from sta_tsn.pipeline.studies import ABLATIONS, STUDIES, find_study
from sta_tsn.runs.folder import stage_fingerprint

ROOT = Path(__file__).parents[2]
EXPERIMENTS = ROOT / "experiments"
OPTIONS = TrainOptions(experiments=str(EXPERIMENTS))


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_a_stamp_holds_what_recipes_say_and_not_where_they_lie(study, tmp_path):
    """Else moving `experiments/` would have every run trained anew."""
    dataset = "sbu" if study.sees == "skeletons" else "demo"
    here = replace(OPTIONS, model=study.name, dataset=dataset)
    moved = replace(here, experiments=str(tmp_path / "recipes"))
    shutil.copytree(EXPERIMENTS / "models", tmp_path / "recipes/models")
    shutil.copytree(EXPERIMENTS / "ablations", tmp_path / "recipes/ablations")
    shutil.copytree(EXPERIMENTS / "datasets", tmp_path / "recipes/datasets")
    for row in study.rows:
        stamps = []
        for options in (here, moved):
            arguments = stage_arguments(row, options)
            stamps.append(stage_fingerprint(arguments))
        assert stamps[0] == stamps[1], row.title


def test_an_unknown_model_is_named_with_the_nearest():
    with pytest.raises(ConfigError, match=r"'sta_lsmt'\. Did you mean sta_lstm"):
        find_study("sta_lsmt")


def _named_in_makefile(variable: str) -> list[str]:
    name = "[a-z0-9_]+"
    makefile = (ROOT / "Makefile").read_text()
    found = re.search(rf"\b{variable}=({name}(?:\|\s*{name})+)", makefile)
    return [one.strip() for one in found[1].split("|")]


def test_the_makefile_names_every_model_and_dataset():
    assert _named_in_makefile("MODEL") == [study.name for study in STUDIES]
    folders = {path.name for path in (EXPERIMENTS / "datasets").iterdir()}
    assert set(_named_in_makefile("DATASET")) == folders


def test_the_readme_names_every_model():
    readme = (ROOT / "README.md").read_text()
    models = [study for study in STUDIES if study.rows and study != ABLATIONS]
    for study in models:
        assert f"| `{study.name}` |" in readme


def test_a_study_of_its_own_way_is_not_trained_but_reproduced():
    with pytest.raises(ConfigError, match="sta-tsn reproduce --model=interference --dataset=demo"):
        check_model(replace(OPTIONS, model="interference"))


def test_the_help_names_every_model():
    command = [sys.executable, "-m", "sta_tsn", "train", "--help"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for study in STUDIES:
        assert study.name in text


def test_the_studies_load_nothing_heavy():
    """Every `--help` lists them."""
    code = "import sys, sta_tsn.pipeline.studies; print({'torch', 'pandas'} & set(sys.modules))"
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "set()\n"
