"""Settings that several tests share."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

# Set before anything loads torch, whose threads read them once; the tests' processes inherit them.
# Of tiny networks two processes with two threads each take ten times as long, and waiting threads
# must not spin.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("WANDB_MODE", "disabled")  # one test runs W&B offline for real
ROOT = Path(__file__).parent.parent


def write_mini_experiments(folder: Path, data: Path) -> Path:
    """Write an experiments folder with the dataset `mini`, whose videos are in `data`.

    It trains eight epochs of a tiny CNN in seconds.
    """
    experiments = folder / "experiments"
    shutil.copytree(ROOT / "experiments/models", experiments / "models")
    (experiments / "datasets/mini").mkdir(parents=True)
    (experiments / "datasets/mini" / "backbone.yaml").write_text(f"""
trainer: {{max_epochs: 8, gradient_clip_val: 20}}
model:
  init_args:
    backbone: test_resnet
    weights: none
    trained_batch_norms: all
    dropout: 0.1
    lr: 0.02
    lr_milestones: [6]
data:
  init_args:
    dataset: {{class_path: sta_tsn.datasets.UCF101, init_args: {{root: {data}}}}}
    batch_size: 4
    val_share: 0.2
    num_workers: 0
""")
    (experiments / "datasets/mini" / "temporal.yaml").write_text("""
trainer: {max_epochs: 4}
model: {init_args: {hidden_dim: 8, lr: 0.1, lr_step_iterations: 6, dropout: 0.5}}
data: {init_args: {batch_size: 4, iterations_per_epoch: 3, num_workers: 0}}
""")
    return experiments


def command(experiments: Path, runs: Path, *options: str) -> list[str]:
    """Return the command line that trains `mini`."""
    base = [sys.executable, "-m", "sta_tsn", "train", "--dataset", "mini"]
    return [*base, "--experiments", str(experiments), "--runs", str(runs), *options]


def train(experiments: Path, runs: Path, *options: str, **environment: str) -> str:
    """Train `mini` in a process of its own, to its end; return what it printed."""
    done = subprocess.run(
        command(experiments, runs, *options),
        capture_output=True,
        text=True,
        cwd=experiments.parent,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout
