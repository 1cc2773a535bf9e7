"""One file knows where everything lies below RUNS."""

import ast
from pathlib import Path

from sta_tsn.pipeline.options import TrainOptions
from sta_tsn.pipeline.studies import STA_TSN
from sta_tsn.runs.layout import DatasetRuns, run_identity

PACKAGE = Path(__file__).parents[2] / "src" / "sta_tsn"
ROOMS = ("runs", "training", "report", "pipeline", "sweeps")
NAMES = {
    "attention.json",
    "check.json",
    "config.yaml",
    "manifest.csv",
    "metrics.csv",
    "run.json",
    "scores.npz",
    "sweeps",
}


def test_no_other_file_spells_a_path_below_runs():
    """Rooms before `runs` cannot import it; sentences may name a file."""
    found = []
    for room in ROOMS:
        for path in (PACKAGE / room).rglob("*.py"):
            if path.name == "layout.py":
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and node.value in NAMES:
                    found.append(f"{path.relative_to(PACKAGE)}: {node.value}")
    assert not found


def test_a_run_says_where_its_datasets_runs_lie(tmp_path):
    options = TrainOptions(runs=str(tmp_path), dataset="jhmdb", split=2)
    run = STA_TSN.folder(options)
    assert run.path == tmp_path / "jhmdb/split2/sta_tsn/rgb/seed0/temporal"
    assert DatasetRuns.of(run.path) == options.place
    assert run_identity(run.path)["split"] == 2


def test_tested_runs_are_those_with_a_score_table(tmp_path):
    place = DatasetRuns.below(tmp_path, "demo")
    for seed in (1, 0):
        folder = place.run(1, "cnn", "rgb", seed, "backbone")
        folder.mkdir(parents=True)
        (folder / "scores.npz").touch()
    place.run(1, "cnn", "rgb", 2, "backbone").mkdir(parents=True)
    found = [path.parent.parent.name for path in place.tested("cnn", "rgb", "backbone")]
    assert found == ["seed0", "seed1"]
