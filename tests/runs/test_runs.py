"""Runs as four tables: whole, half-written, older, damaged and doubled ones, and W&B's."""

import io
import json
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from sta_tsn.errors import UserError
from sta_tsn.evaluation import ScoreTable
from sta_tsn.runs import load_runs

METRICS = "epoch,step,train/loss,val/loss\n0,9,1.5,\n0,9,,1.25\n1,19,0.5,\n1,19,,0.75\n"
CONFIG = (
    "seed_everything: 0\nmodel:\n  class_path: a.B\n  init_args: {lr: 0.1, lr_milestones: [3, 5]}\n"
)
TABLE = ScoreTable(
    ["v1", "v2", "v3"],
    torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]]),
    torch.tensor([[True, False], [True, False], [False, True]]),
    ["Jump", "Run"],
    {},
)


def write_run(root: Path, name: str = "demo/split1/cnn/rgb/seed0/backbone") -> Path:
    run = root / name
    run.mkdir(parents=True)
    about = {
        "fingerprint": "x",
        "commit": "abc",
        "seconds": {"fit": 60.0, "test": 12.0},
        "peak_memory_gb": 1.5,
    }
    (run / "run.json").write_text(json.dumps(about))
    (run / "config.yaml").write_text(CONFIG)
    (run / "metrics.csv").write_text(METRICS)
    TABLE.save(run / "scores.npz")
    return run


def test_a_whole_run(tmp_path):
    write_run(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config, summary, history, scores = load_runs(tmp_path)
    (name,) = config.index
    assert name == "demo/split1/cnn/rgb/seed0/backbone"
    one = config.loc[name]
    assert (one["dataset"], one["split"], one["model"], one["seed"], one["stage"]) == (
        "demo",
        1,
        "cnn",
        0,
        "backbone",
    )
    assert (one["model.lr"], one["model.lr_milestones"], one["commit"]) == (0.1, (3, 5), "abc")
    assert summary.loc[
        name, ["micro accuracy %", "videos", "val/loss", "minutes", "peak memory GB"]
    ].tolist() == [33.33, 3, 0.75, 1.2, 1.5]
    assert history.loc[name, "val/loss"].dropna().tolist() == [1.25, 0.75]
    assert history["step"].tolist() == [9, 9, 19, 19]
    assert scores.loc[name, "correct"].tolist() == [1, 0, 0]
    assert scores.loc[name, "rank"].tolist() == [1, 2, 2]
    assert scores.loc[(name, "v2"), "p_true"] == pytest.approx(1 / (1 + 2.718281828))
    assert scores.loc[(name, "v3"), ["true", "predicted"]].tolist() == ["Run", "Jump"]


def test_videos_with_several_labels_and_with_none(tmp_path):
    run = write_run(tmp_path)
    labels = torch.tensor([[True, True], [False, False], [False, True]])
    ScoreTable(TABLE.ids, TABLE.scores, labels, TABLE.classes, {}).save(run / "scores.npz")
    scores = load_runs(run).scores.droplevel("run")
    assert scores.loc["v1", ["true", "correct", "p_true", "rank"]].tolist() == [
        "Jump + Run",
        1,
        pytest.approx(1),
        1,
    ]
    assert scores.loc["v2", "true"] == ""
    assert scores.loc["v2", ["correct", "p_true", "rank"]].isna().all()


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("metrics.csv", None, "no metrics.csv: no history"),
        ("metrics.csv", "", "metrics.csv cannot be read"),
        ("metrics.csv", "epoch,step,train/loss\n", "no logged steps"),
        ("metrics.csv", "\0\0\0", "metrics.csv cannot be read"),
        (
            "metrics.csv",
            "epoch,step,train/loss\n0,10,0.75\n0,2",
            "metrics.csv ends in the middle of a line, which is left out",
        ),
        ("run.json", None, "no run.json"),
        ("run.json", '{"fingerprint": "x", "sec', "run.json cannot be read"),
        ("run.json", "[1, 2]", "run.json cannot be read"),
        ("config.yaml", None, "no config.yaml: its settings are unknown"),
        ("config.yaml", "a: [", "config.yaml cannot be read"),
        ("config.yaml", "", "config.yaml cannot be read"),
        ("scores.npz", None, "not tested"),
        ("scores.npz", "PK half a table", "scores.npz cannot be read"),
    ],
)
def test_what_is_missing_or_damaged_is_named_and_the_rest_is_read(tmp_path, file, content, said):
    write_run(tmp_path, "demo/split1/cnn/rgb/seed1/backbone")
    run = write_run(tmp_path)
    (run / file).unlink() if content is None else (run / file).write_text(content)
    with pytest.warns(UserWarning, match=re.escape(said)) as caught:
        runs = load_runs(tmp_path)
    assert str(run) in str(caught[0].message)
    assert len(caught) == 1
    assert len(runs.config) == 2
    assert "seed1" in str(runs.history.index) + str(runs.scores.index)


def test_older_layouts(tmp_path):
    """Without times in run.json and in a folder of another shape."""
    run = write_run(tmp_path, "my_runs/first")
    (run / "run.json").write_text('{"seconds": 12}')
    runs = load_runs(tmp_path)
    (name,) = runs.config.index
    assert name.endswith("my_runs/first")
    assert "minutes" not in runs.summary
    assert "dataset" not in runs.config


def test_trials_of_a_sweep_are_not_tested_and_old_runs_are_left_out(tmp_path):
    run = write_run(tmp_path, "sweeps/lr/trial-001")
    (run / "scores.npz").unlink()
    (run / "run.json").write_text('{"tested": false}')
    write_run(tmp_path, "sweeps/lr/trial-001.old-20260101-000000")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(load_runs(tmp_path).config.index) == ["sweeps/lr/trial-001"]
    assert load_runs(tmp_path / "sweeps/lr/trial-001").scores.empty


def test_two_runs_of_one_name(tmp_path):
    for folder in ("first", "second"):
        write_run(tmp_path / folder)
    with pytest.warns(UserWarning, match="Two runs are called demo/split1"):
        runs = load_runs(tmp_path)
    assert len(set(runs.config.index)) == 2
    assert "second" in runs.config.index[1]
    assert len(runs.scores) == 6


def test_no_runs_at_all(tmp_path):
    with pytest.raises(UserError, match=r"No runs in .*make train"):
        load_runs(tmp_path)
    with pytest.raises(UserError, match="No folder /nowhere/at/all"):
        load_runs("/nowhere/at/all")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file is a file\. Give the folder"):
        load_runs(tmp_path / "file")


def api_run(name: str, history: list[dict], config: dict, files: list = ()) -> SimpleNamespace:
    summary = {"val/loss": 0.75, "_runtime": 3, "confusion": {"_type": "image-file"}}
    return SimpleNamespace(
        name=name, path=["me", "sta-tsn", "id1"], state="finished", config=config, summary=summary,
        scan_history=lambda: history, files=lambda names: files,
    )  # fmt: skip


def test_a_wandb_project_gives_the_same_tables(tmp_path, monkeypatch):
    import wandb

    folder = load_runs(write_run(tmp_path))
    name = folder.config.index[0]
    rows = [
        {"_step": 0, "trainer/global_step": 9, "train/loss": 1.5},
        {"_step": 1, "trainer/global_step": 19, "val/loss": 0.75},
        {"_step": 2, "trainer/global_step": 19, "confusion": {"_type": "image-file"}},
    ]
    scores = SimpleNamespace(
        download=lambda root: shutil.copy(tmp_path / name / "scores.npz", root) and io.StringIO()
    )
    config = {"dataset": "demo", "split": 1, "model.lr": 0.1, "model.lr_milestones": [3, 5]}
    runs = [api_run(name, rows, config, [scores]), api_run(name, [], {})]
    monkeypatch.setattr(wandb, "login", lambda **_: True)
    monkeypatch.setattr(wandb, "Api", lambda: SimpleNamespace(runs=lambda project: runs))
    with pytest.warns(UserWarning) as caught:
        found = load_runs("me/sta-tsn")
    said = " ".join(str(one.message) for one in caught)
    assert "no config" in said
    assert "no history" in said
    assert "Two runs are called" in said
    assert found.config.loc[name, "model.lr_milestones"] == (3, 5)
    assert found.history.loc[name, "step"].tolist() == [9, 19]
    assert found.scores.loc[[name]].equals(folder.scores)
    assert set(found.summary) == {"val/loss"}


def test_wandb_without_a_login_or_a_project(monkeypatch):
    import wandb

    monkeypatch.setattr(wandb, "login", lambda **_: False)
    with pytest.raises(UserError, match="nobody is logged in"):
        load_runs("runs/demmo")

    def missing(project):
        raise wandb.errors.CommError("Could not find project")

    monkeypatch.setattr(wandb, "login", lambda **_: True)
    monkeypatch.setattr(wandb, "Api", lambda: SimpleNamespace(runs=missing))
    with pytest.raises(UserError, match=r"There is no folder me/typo here.*Could not find project"):
        load_runs("me/typo")


def test_importing_the_report_is_light():
    heavy = {"pandas", "torch", "matplotlib", "wandb"}
    code = f"import sys, sta_tsn.runs; print({heavy} & set(sys.modules))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
