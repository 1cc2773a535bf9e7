"""SLURM ends a job before its time is up, requeues it, and starts it again."""

import os
import subprocess
import sys
from pathlib import Path

import torch

from sta_tsn.evaluation import ScoreTable
from sta_tsn.runs.folder import RunFolder

JOB = {"NTASKS": 1, "NNODES": 1, "PROCID": 0, "LOCALID": 0, "NODEID": 0, "JOB_ID": 4321}
# SLURM's signal comes in the first epoch, after its second step.
SIGNALLED = """
import os, signal, sys
from sta_tsn.cli import main
from sta_tsn.training.step_monitor import StepMonitor

log = StepMonitor.on_train_batch_end

def log_and_signal(self, trainer, *args):
    log(self, trainer, *args)
    if trainer.global_step == 2:
        os.kill(os.getpid(), signal.SIGUSR1)

StepMonitor.on_train_batch_end = log_and_signal
main(sys.argv[1:])
"""


def fit(arguments: list[str], programs: Path, program: list[str]) -> subprocess.CompletedProcess:
    slurm = {f"SLURM_{name}": str(value) for name, value in JOB.items()}
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [sys.executable, *program, "fit", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **slurm, "SLURM_JOB_NAME": "sta", "PATH": path},
    )


def test_a_job_requeued_in_its_first_epoch_ends_with_the_same_numbers(trained, tmp_path):
    """Lightning's checkpoint of the middle of the epoch is neither gone on from nor tested."""
    whole = RunFolder(trained[1] / "mini/split1/sta_tsn/rgb/seed0/temporal")
    run = RunFolder(tmp_path / "run")
    arguments = [
        argument for argument in whole.about["arguments"] if not argument.startswith("--run_dir=")
    ]
    arguments.append(f"--run_dir={run.path}")
    # What SLURM does: it notes the requeue and ends the job.
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\nkill -9 $PPID\n')
    scontrol.chmod(0o755)

    first = fit(arguments, scontrol.parent, ["-c", SIGNALLED])
    assert first.returncode == -9, first.stderr[-2000:]
    assert (tmp_path / "asked").read_text() == "requeue 4321\n"
    assert not run.last.exists()
    assert not list(run.path.rglob("*hpc*"))

    left = run.path / "hpc_ckpt_1.ckpt"  # of an earlier version
    left.write_bytes(whole.best.read_bytes())
    second = fit(arguments, scontrol.parent, ["-m", "sta_tsn"])
    assert second.returncode == 0, second.stderr[-2000:]
    assert not left.exists()
    found, expected = ScoreTable.load(run.scores), ScoreTable.load(whole.scores)
    assert torch.equal(found.scores, expected.scores)
