"""Settings that several tests share."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryFile
from typing import TextIO

import pytest

from sta_tsn.cli import main

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
    """Run `sta-tsn train` and return what it and its stages printed.

    The stages are processes, forked from a server that imports once for all tests of this process.
    """
    return run_here(
        command(experiments, runs, *options)[3:], folder=experiments.parent, **environment
    )


def run_here(arguments: list[str], folder: Path, **environment: str) -> str:
    """Run `sta-tsn` in this process, which need not import anew; return its output.

    Args:
        arguments: of `sta-tsn`.
        folder: to run in.
        environment: variables to set meanwhile.
    """
    with TemporaryFile("w+") as output, pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, value in environment.items():
            patch.setenv(name, value)
        with all_output_to(output):
            status = main(arguments)
        output.seek(0)
        said = output.read()
    assert status == 0, said[-6000:]
    return said


@contextmanager
def all_output_to(file: TextIO) -> Iterator[None]:
    """Send what this process and those that it starts write to a file, in the order of writing."""
    kept = [os.dup(stream) for stream in (1, 2)]
    for stream in (1, 2):
        os.dup2(file.fileno(), stream)
    with open(os.dup(file.fileno()), "w", buffering=1) as lines:
        try:
            with redirect_stdout(lines), redirect_stderr(lines):
                yield
        finally:
            for stream, copy in enumerate(kept, 1):
                os.dup2(copy, stream)
                os.close(copy)


def features_command(experiments: Path, runs: Path, *options: str) -> list[str]:
    """Arguments of `sta-tsn features`: pooled features and maps of `mini` by a tiny network."""
    base = ["features", "--dataset", "mini", "--backbone", "test_resnet", "--weights", "none"]
    base += ["--experiments", str(experiments), "--runs", str(runs), "--devices", "1"]
    return [*base, "--splits", "1", "--kept", "both", *options]


def train_heads(task, data, folder: Path, epochs: int = 1):
    """Train a grid of heads, a `ProbeGrid`, on a `FrozenFeatureDataModule`; return the trainer."""
    trainer = bare_trainer(max_epochs=epochs, default_root_dir=str(folder))
    trainer.fit(task, datamodule=data)
    return trainer


def bare_trainer(**settings):
    """Return a Trainer on the CPU that writes and prints nothing, with the settings given."""
    from pytorch_lightning import Trainer

    return Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        **settings,
    )


def save_checkpoint(path: Path, task, **shown) -> None:
    """Write a task as its training does; `shown` is what the data module keeps."""
    import torch

    content = {
        "state_dict": task.state_dict(),
        "hyper_parameters": dict(task.hparams),
        "pytorch-lightning_version": "2.6.0",
        "VideoDataModule": shown,
    }
    task.on_save_checkpoint(content)
    torch.save(content, path)
