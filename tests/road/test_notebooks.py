"""The notebooks run on a miniature training, and lie in git without outputs."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from sta_tsn.artefacts import read_json, write_json
from sta_tsn.errors import UserError
from sta_tsn.report.comparison import (
    accuracy_table,
    confused_pairs,
    curves_figure,
    differences_table,
)
from sta_tsn.runs.layout import ATTENTION_FILE
from sta_tsn.runs.run_tables import Runs
from sta_tsn.sweeps.sweep_report import AXES_FILE
from sta_tsn.sweeps.trials import progress_figure, read_trials, sweep_folders, trials_figure

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
TRIALS = """trial,model.lr,model.dropout,val/loss,validations,state,minutes
2,0.1,0.5,0.4,3,finished,0.1
1,0.01,0.5,0.9,3,finished,0.1
"""
TRIALS += "3,1.0,0.5,,0,failed,0.0\n"


def execute(out: Path, *notebooks: Path, **environment: str) -> subprocess.CompletedProcess:
    """As `make notebook` does, in one process."""
    command = [
        sys.executable,
        "-m",
        "nbconvert",
        "--to",
        "html",
        "--execute",
        f"--output-dir={out}",
    ]
    return subprocess.run(
        [*command, *map(str, notebooks)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


def test_outputs_are_stripped():
    assert len(NOTEBOOKS) == 5
    for path in NOTEBOOKS:
        for cell in nbformat.read(path, as_version=4).cells:
            assert cell.cell_type == "markdown" or (
                not cell.outputs and cell.execution_count is None
            ), f"{path.name}: clear all outputs"


def test_notebooks_run(trained, tmp_path):
    runs = trained[1] / "mini"
    sweep = trained[1] / "sweeps" / "lr"
    sweep.mkdir(parents=True, exist_ok=True)
    (sweep / "trials.csv").write_text(TRIALS)
    before = [path.read_bytes() for path in NOTEBOOKS]
    done = execute(tmp_path, *NOTEBOOKS, RUNS=str(runs))
    assert done.returncode == 0, done.stderr[-3000:]
    assert [path.read_bytes() for path in NOTEBOOKS] == before
    pages = {path.stem: path.read_text() for path in sorted(tmp_path.glob("*.html"))}
    assert list(pages) == [path.stem for path in NOTEBOOKS]
    pictures = {
        name: len(re.findall(r'<img[^>]*src="data:image/png', page)) for name, page in pages.items()
    }
    assert list(pictures.values()) == [4, 2, 2, 3, 2]
    assert pages["01_dataset"].count("<video") == 3
    assert "mini/split1/sta_tsn/rgb/seed0/temporal" in pages["02_compare_runs"]


def with_ground_truth(runs: Path, data: Path, folder: Path) -> tuple[Path, Path]:
    """Return copies of runs and data that are taken for the demo's.

    The action is in frames 4 to 9, in the left half of the picture.
    """
    runs, data = (
        Path(shutil.copytree(runs, folder / "mini")),
        Path(shutil.copytree(data, folder / "data")),
    )
    ids = [f"{path.parent.name}/{path.stem}" for path in data.glob("UCF-101/*/*.avi")]
    lines = [
        "id,first_frame,last_frame,x_px,y_px,width_px,height_px",
        *(f"{name},4,9,0,0,80,120" for name in ids),
    ]
    (data / "ground_truth.csv").write_text("\n".join(lines))
    for file in runs.rglob("config.yaml"):
        file.write_text(
            file.read_text().replace("sta_tsn.datasets.UCF101", "sta_tsn.datasets.Demo")
        )
    for file in runs.rglob(ATTENTION_FILE):
        file.unlink()
    return runs, data


def test_attention_is_scored_where_the_dataset_knows_the_action(trained, mini_ucf101, tmp_path):
    """The actor is half of the picture: two of five columns of cells in the crop lie on it."""
    runs, data = with_ground_truth(trained[1] / "mini", mini_ucf101, tmp_path)
    done = execute(tmp_path / "pages", NOTEBOOKS[3], RUNS=str(runs), DATA=str(data))
    assert done.returncode == 0, done.stderr[-3000:]
    page = (tmp_path / "pages" / "04_attention.html").read_text()
    assert "frames of the action" in page
    assert "demo does not say" not in page
    scores = read_json(runs / "split1/sta_tsn/rgb/seed0/temporal" / ATTENTION_FILE)
    assert scores["pointing_uniform"] == pytest.approx(40, abs=1)
    assert 0 <= scores["pointing"] <= 100
    assert 0 < scores["mass_ratio"] < 2
    assert 0 <= scores["key_frame_recall"] <= 100


def test_an_error_in_a_cell_fails_and_says_what_to_do(tmp_path):
    done = execute(tmp_path, NOTEBOOKS[1], RUNS=str(tmp_path))
    assert done.returncode != 0
    assert "No runs in" in done.stderr
    assert "make train" in done.stderr


def answers(**runs: list[float]) -> Runs:
    """Runs of one dataset whose answers to the same videos are given."""
    index = pd.MultiIndex.from_tuples(
        [(run, f"v{i}") for run, right in runs.items() for i in range(len(right))],
        names=["run", "video"],
    )
    correct = [one for right in runs.values() for one in right]
    predicted = ["a" if one else "b" for one in correct]
    groups = index.get_level_values("video")  # a source each
    scores = pd.DataFrame(
        {"group": groups, "correct": correct, "true": "a", "predicted": predicted}, index=index
    )
    config = pd.DataFrame({"dataset": "demo"}, index=pd.Index(runs, name="run"))
    return Runs(config, config, pd.DataFrame(), scores)


def test_tables_of_compared_runs():
    """8 of 10 by Wilson's formula; ten videos gained of thirty are significant, none is not."""
    runs = answers(low=[1.0] * 8 + [0.0] * 2, high=[1.0] * 10)
    table = accuracy_table(runs.scores)
    assert table.index[0] == "high"
    assert table.loc["low"].round(1).tolist() == [
        80,
        49.0,
        94.3,
        10,
        10,
    ]
    runs = answers(first=[0.0] * 10 + [1.0] * 20, second=[1.0] * 30, third=[1.0] * 30)
    table = differences_table(runs).set_index(["from", "to"])
    assert table.loc[("first", "second"), "difference"] == pytest.approx(100 / 3)
    assert table["significant"].tolist() == ["yes", "yes", "no"]
    runs.config.loc["third", "dataset"] = "other"
    assert len(differences_table(runs)) == 1
    pairs = confused_pairs(runs.scores.loc["first"])
    assert pairs.loc[0].tolist() == ["a", "b", 10, pytest.approx(100 / 3)]


def test_curves_of_metrics_that_nobody_logged():
    history = pd.DataFrame({"step": [0], "train/loss": [1.0]}, index=pd.Index(["a"], name="run"))
    assert len(curves_figure(history, ["train/loss", "val/loss"]).axes) == 1
    with pytest.raises(UserError, match="Logged: train/loss"):
        curves_figure(history, ["val/loss"])


def test_sweeps_tables(tmp_path):
    folder = tmp_path / "sweeps" / "lr"
    with pytest.raises(UserError, match="a sweep writes it"):
        read_trials(folder)
    folder.mkdir(parents=True)
    (folder / "trials.csv").write_text(TRIALS)
    assert sweep_folders(tmp_path) == sweep_folders(tmp_path / "demo") == [folder]
    trials = read_trials(folder)
    assert (trials.parameters, trials.metric) == (["model.lr"], "val/loss")
    assert len(trials_figure(trials).axes) == 1
    best = progress_figure(trials).axes[0].lines[-1].get_ydata()
    assert best.tolist() == [0.9, 0.4]
    for damaged in ("", "a\nb\n1,2,3,4"):
        (folder / "trials.csv").write_text(damaged)
        with pytest.raises(UserError, match="not a table of trials"):
            read_trials(folder)


def test_a_rate_that_was_sampled_on_a_logarithmic_scale_is_drawn_on_one(tmp_path):
    narrow = TRIALS.replace("3,1.0", "3,0.05")
    (tmp_path / "trials.csv").write_text(narrow)
    assert trials_figure(read_trials(tmp_path)).axes[0].get_xscale() == "linear"
    write_json(tmp_path / AXES_FILE, {"log_scaled": ["model.lr"]})
    assert trials_figure(read_trials(tmp_path)).axes[0].get_xscale() == "log"
