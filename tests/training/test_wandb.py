"""Runs at W&B, on a server of our own: online, interrupted and resumed; offline and sent later."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import wandb
from fake_wandb import FakeRun, FakeWandb

from sta_tsn.errors import UserError
from sta_tsn.runs.folder import RunFolder
from sta_tsn.training.wandb_run import _is_reachable, labels, wandb_logger

EPOCHS, STEPS = 20, 3


def start(
    experiments: Path, backbone: RunFolder, folder: Path, environment: dict[str, str]
) -> subprocess.Popen:
    """Stage two of the miniature, long enough to be interrupted."""
    arguments = [
        f"--config={experiments}/{name}.yaml"
        for name in ("models/sta_tsn/sta_tsn", "datasets/mini/temporal")
    ]
    arguments += [
        f"--data.features={backbone.features}",
        f"--model.backbone_checkpoint={backbone.last}",
        f"--trainer.max_epochs={EPOCHS}",
    ]
    return subprocess.Popen(
        [sys.executable, "-m", "sta_tsn", "fit", f"--run_dir={folder}", *arguments],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def test_an_online_run_goes_on_where_it_was_interrupted(trained, tmp_path):
    experiments, runs, _ = trained
    server = FakeWandb()
    backbone = RunFolder(runs / "mini/split1/sta_tsn/rgb/seed0/backbone")
    run = RunFolder(tmp_path / "mini/split2/sta_tsn/rgb/seed7/temporal")
    first = start(experiments, backbone, run.path, server.environment)
    while not run.last.exists():
        assert first.poll() is None, first.communicate()
        time.sleep(0.005)
    os.killpg(first.pid, signal.SIGINT)
    assert "Stopped" in first.communicate()[0]
    assert not run.scores.exists()
    second = start(experiments, backbone, run.path, server.environment)
    said = second.communicate()[0]
    assert second.returncode == 0, said[-3000:]
    assert "Going on from" in said, said[-3000:]
    assert "not sent to W&B" not in said, said[-3000:]

    ((name, sent),) = server.runs.items()
    assert name == run.about["wandb_id"]
    assert sent.resumed == 1
    asked = sent.starts[0]
    assert (asked["displayName"], asked["jobType"]) == (
        "mini/split2/sta_tsn/rgb/seed7/temporal",
        "temporal",
    )
    assert asked["groupName"] == "mini/split2/sta_tsn/rgb/temporal"
    assert set(asked["tags"]) == {
        "mini",
        "split2",
        "sta_tsn",
        "rgb",
        "seed7",
    }
    assert (sent.config["model.hidden_dim"], sent.config["dataset"], sent.config["split"]) == (
        8,
        "mini",
        2,
    )
    validated = {row["trainer/global_step"] for row in sent.history.values() if "val/loss" in row}
    assert validated == {STEPS * epoch - 1 for epoch in range(1, EPOCHS + 1)}
    assert sent.summary["micro accuracy %"] == 100
    assert {
        "step/gradient_norm",
        "minutes",
        "val/loss",
    } <= set(sent.summary)
    assert "scores.npz" in sent.files
    assert any("test/confusion" in file for file in sent.files)
    assert any("test/beta" in file for file in sent.files)
    assert sum("test/attention" in file for file in sent.files) == 2
    assert len(sent.artifacts) == 2


def sync(folder: Path, server: FakeWandb) -> None:
    command = [sys.executable, "-m", "wandb", "sync", str(folder)]
    done = subprocess.run(
        command,
        env={**os.environ, **server.environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_offline_run_is_sent_by_the_documented_command(trained):
    server = FakeWandb()
    run = RunFolder(trained[1] / "mini/split1/cnn/rgb/seed0/backbone")
    (folder,) = run.path.glob("wandb/offline-run-*")
    sync(folder, server)
    sent = server.runs[run.about["wandb_id"]]
    assert sent.config["model.spatial_attention"] is False
    assert sent.summary["videos"] == 5
    assert any("train/loss" in row for row in sent.history.values())
    assert "scores.npz" in sent.files


def test_an_offline_run_that_was_killed_and_resumed_is_sent_whole(trained, tmp_path):
    """A killed run leaves two folders; what both have, from behind the checkpoint, is equal."""
    experiments, runs, _ = trained
    backbone = RunFolder(runs / "mini/split1/sta_tsn/rgb/seed0/backbone")
    run, server = RunFolder(tmp_path / "mini/split2/sta_tsn/rgb/seed8/temporal"), FakeWandb()
    often = {
        "WANDB_X_TRANSACTION_LOG_FLUSH_INTERVAL": "0.2"
    }  # seconds; of its own W&B writes every 15 s, and a kill loses the rest
    first = start(experiments, backbone, run.path, {"WANDB_MODE": "offline", **often})
    while not run.last.exists():
        assert first.poll() is None, first.communicate()
        time.sleep(0.005)
    os.kill(first.pid, signal.SIGSTOP)
    time.sleep(2)
    first.kill()
    first.wait()
    second = start(experiments, backbone, run.path, {"WANDB_MODE": "offline"})
    said = second.communicate()[0]
    assert second.returncode == 0, said[-3000:]
    assert "Going on from" in said, said[-3000:]
    folders = sorted(run.path.glob("wandb/offline-run-*"))
    assert len(folders) == 2
    for folder in folders:
        sync(folder, server)
    ((name, sent),) = server.runs.items()
    assert name == run.about["wandb_id"]
    assert sent.resumed == 1
    assert sent.config["model.hidden_dim"] == 8
    here = [
        (int(row["step"]), float(row["val/loss"]))
        for row in csv.DictReader(run.metrics.open())
        if row["val/loss"]
    ]
    there = {
        (row["trainer/global_step"], row["val/loss"])
        for row in sent.history.values()
        if "val/loss" in row
    }
    assert [step for step, _ in sorted(there)] == [step for step, _ in here]
    assert len(here) == EPOCHS
    assert [value for _, value in sorted(there)] == pytest.approx([value for _, value in here])
    assert sent.summary["micro accuracy %"] == 100
    assert "scores.npz" in sent.files


SWEEP_FILE = """
method: random
metric: {name: val/accuracy, goal: maximize}
parameters: {model.lr: {min: 0.1, max: 0.9}, model.dropout: {value: 0.5}}
"""
READ = """
import sys
from sta_tsn.errors import UserError
from sta_tsn.sweeps.trials import read_trials
for name in sys.argv[1:]:
    try:
        trials = read_trials(name)
        told = trials.table.assign(parameters=[trials.parameters] * len(trials.table))
        print(told.to_json(orient="records"))
    except UserError as error:
        print(error)
"""


def test_a_wandb_sweep_gives_the_table_of_make_sweep():
    """With W&B's own client; the fake answers what that asks for."""
    server = FakeWandb()
    server.sweeps = {"abc": SWEEP_FILE, "empty": SWEEP_FILE, "bare": "method: random"}
    trials = [
        (0.1, [0.5, 0.6], "finished"),
        (0.3, [0.7, 0.8], "finished"),
        (0.9, [0.2], "killed"),
        (0.5, [], "crashed"),
    ]
    for number, (lr, values, state) in enumerate(trials, 1):
        rows = [row for value in values for row in ({"train/loss": 1.0}, {"val/accuracy": value})]
        config = {"model.lr": lr, "model.dropout": 0.5, "dataset": "demo"}
        server.runs[f"run{number}"] = FakeRun(
            config=config,
            history=dict(enumerate(rows)),
            summary={"_runtime": 60 * number},
            sweep="abc",
            state=state,
        )
    names = [f"me/sta-tsn/{sweep}" for sweep in ("abc", "empty", "bare", "typo")]
    environment = {**os.environ, **server.environment, "WANDB_SILENT": "true"}
    done = subprocess.run(
        [sys.executable, "-c", READ, *names],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    table, empty, bare, missing = done.stdout.strip().splitlines()
    rows = json.loads(table)
    told = [
        [
            row[name]
            for name in ("trial", "model.lr", "val/accuracy", "validations", "state", "minutes")
        ]
        for row in rows
    ]
    assert told[:2] == [[2, 0.3, 0.8, 2, "finished", 2], [1, 0.1, 0.6, 2, "finished", 1]]
    assert told[2:] == [[3, 0.9, 0.2, 1, "stopped", 3], [4, 0.5, None, 0, "failed", 4]]
    assert rows[0]["parameters"] == ["model.lr"]
    assert "has no runs yet; wandb agent me/sta-tsn/empty" in empty
    assert "names no metric" in bare
    assert "no folder me/sta-tsn/typo here" in missing
    assert "Could not find sweep" in missing
    logged_out = {
        **environment,
        "WANDB_API_KEY": "",
        "HOME": "/nonexistent",
        "NETRC": "/nonexistent",
    }
    done = subprocess.run(
        [sys.executable, "-c", READ, names[0]],
        env=logged_out,
        capture_output=True,
        text=True,
    )
    assert "nobody is logged in" in done.stdout, done.stdout + done.stderr


def test_a_folder_of_another_shape_has_a_name_and_nothing_else():
    assert labels(Path("/x/y/sweeps/lr/trial-001")) == {"name": "sweeps/lr/trial-001"}


def run_folder(tmp_path) -> RunFolder:
    folder = RunFolder(tmp_path / "demo/split1/cnn/rgb/seed0/backbone")
    folder.claim("stamp", [])
    return folder


def test_variables_of_wandb_go_before_our_names(tmp_path, monkeypatch):
    given = {
        "WANDB_MODE": "offline",
        "WANDB_PROJECT": "theirs",
        "WANDB_DIR": str(tmp_path / "logs"),
        "WANDB_NAME": "first try",
        "WANDB_TAGS": "paper, rebuttal",
        "WANDB_RUN_GROUP": "tries",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    asked = wandb_logger(run_folder(tmp_path))._wandb_init
    assert asked["project"] == "theirs"
    assert asked["dir"] == str(tmp_path / "logs")
    assert asked["name"] == "first try"
    assert asked["group"] == "tries"
    assert asked["job_type"] == "backbone"
    assert asked["tags"] == ["demo", "split1", "cnn", "rgb", "seed0", "paper", "rebuttal"]


def test_no_setting_is_sent_that_wandb_warns_of(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert "anonymous" not in wandb_logger(run_folder(tmp_path))._wandb_init


def test_online_without_a_key_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setattr(wandb, "login", lambda **_: False)
    with pytest.raises(UserError, match="WANDB_MODE=online, but nobody is logged in"):
        wandb_logger(run_folder(tmp_path))


def test_a_server_out_of_reach_is_no_reason_to_stop(monkeypatch, capsys):
    """What wandb 0.31 raises with a key and a closed port, after 13 s."""

    def refuse(**_):
        raise wandb.errors.AuthenticationError(
            "Failed to authenticate with http://127.0.0.1:9: no answer"
        )

    monkeypatch.setattr(wandb, "login", refuse)
    assert not _is_reachable()
    assert "W&B cannot be reached (Failed to authenticate" in capsys.readouterr().out
