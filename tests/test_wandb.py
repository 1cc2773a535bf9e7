"""Runs at W&B, on a server of our own: an online run that is interrupted and resumed, and an offline one that is sent later."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import wandb
from fake_wandb import FakeWandb

from sta_tsn.running.folder import RunFolder
from sta_tsn.running.wandb_run import _is_reachable, labels

EPOCHS, STEPS = 20, 3


def start(experiments: Path, backbone: RunFolder, folder: Path, server: FakeWandb) -> subprocess.Popen:
    """Stage two of the miniature, long enough to be interrupted."""
    arguments = [f"--config={experiments}/{name}.yaml" for name in ("table2/sta_tsn", "mini/temporal")]
    arguments += [f"--data.features={backbone.features}", f"--model.backbone_checkpoint={backbone.last}", f"--trainer.max_epochs={EPOCHS}"]
    return subprocess.Popen(
        [sys.executable, "-m", "sta_tsn", "fit", f"--run_dir={folder}", *arguments],
        env={**os.environ, **server.environment},
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
    first = start(experiments, backbone, run.path, server)
    while not run.last.exists():
        assert first.poll() is None, first.communicate()
        time.sleep(0.005)
    os.killpg(first.pid, signal.SIGINT)
    assert "Stopped" in first.communicate(timeout=120)[0] and not run.scores.exists()
    second = start(experiments, backbone, run.path, server)
    said = second.communicate(timeout=240)[0]
    assert second.returncode == 0 and "Going on from" in said and "not sent to W&B" not in said, said[-3000:]

    ((name, sent),) = server.runs.items()
    assert name == run.about["wandb_id"] and sent.resumed == 1
    asked = sent.starts[0]
    assert (asked["displayName"], asked["jobType"]) == ("mini/split2/sta_tsn/rgb/seed7/temporal", "temporal")
    assert asked["groupName"] == "mini/split2/sta_tsn/rgb/temporal" and set(asked["tags"]) == {"mini", "split2", "sta_tsn", "rgb", "seed7"}
    assert (sent.config["model.hidden_dim"], sent.config["dataset"], sent.config["split"]) == (8, "mini", 2)
    validated = {row["trainer/global_step"] for row in sent.history.values() if "val/loss" in row}
    assert validated == {STEPS * epoch - 1 for epoch in range(1, EPOCHS + 1)}
    assert sent.summary["micro accuracy %"] == 100 and {"step/gradient_norm", "minutes", "val/loss"} <= set(sent.summary)
    assert "scores.npz" in sent.files and any("test/confusion" in file for file in sent.files)
    assert any("test/beta" in file for file in sent.files) and sum("test/attention" in file for file in sent.files) == 2
    assert len(sent.artifacts) == 2


def test_an_offline_run_is_sent_by_the_documented_command(trained):
    server = FakeWandb()
    run = RunFolder(trained[1] / "mini/split1/cnn/rgb/seed0/backbone")
    (folder,) = run.path.glob("wandb/offline-run-*")
    command = [sys.executable, "-m", "wandb", "sync", str(folder)]
    done = subprocess.run(command, env={**os.environ, **server.environment}, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    sent = server.runs[run.about["wandb_id"]]
    assert sent.config["model.spatial_attention"] is False and sent.summary["videos"] == 5
    assert any("train/loss" in row for row in sent.history.values()) and "scores.npz" in sent.files


def test_a_folder_of_another_shape_has_a_name_and_nothing_else():
    assert labels(Path("/x/y/sweeps/lr/trial-001")) == {"name": "sweeps/lr/trial-001"}


def test_a_server_out_of_reach_is_no_reason_to_stop(monkeypatch, capsys):
    """What wandb 0.31 raises with a key and a closed port, after 13 s."""

    def refuse(**_):
        raise wandb.errors.AuthenticationError("Failed to authenticate with http://127.0.0.1:9: no answer")

    monkeypatch.setattr(wandb, "login", refuse)
    assert not _is_reachable()
    assert "W&B cannot be reached (Failed to authenticate" in capsys.readouterr().out
