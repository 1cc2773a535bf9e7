"""What a training step costs, logged beside its loss."""

import resource
import time
from collections import deque

import torch

from sta_tsn.lightning import Callback, LightningModule, Trainer


class StepMonitor(Callback):
    """Logs, at the steps that are logged, what a step costs.

    `step/gradient_norm`: of all gradients together, before clipping. The others are means of the
    last `log_every_n_steps` batches. `step/data_wait_share`: share of the time between two batches'
    ends that passes before the batch is there. `step/clips_per_sec`: over all devices.
    `step/peak_memory_gb`: of the main process without its workers, on a GPU what torch allocated
    there. Validation and checkpoints are in neither time. A GPU works behind the process: waiting
    for it counts as computing.
    """

    def on_train_start(self, trainer: Trainer, task: LightningModule) -> None:
        self._recent: deque[tuple[float, float, int]] = deque(maxlen=trainer.log_every_n_steps)
        # A run that goes on in the middle of an epoch (SLURM's requeue) starts no epoch.
        self._free_since = time.monotonic()

    def on_train_epoch_start(self, trainer: Trainer, task: LightningModule) -> None:
        self._free_since = time.monotonic()

    def on_validation_end(self, trainer: Trainer, task: LightningModule) -> None:
        self._free_since = time.monotonic()

    def on_train_batch_start(
        self, trainer: Trainer, task: LightningModule, batch: dict, batch_idx: int
    ) -> None:
        self._waited = time.monotonic() - self._free_since

    def on_before_optimizer_step(
        self, trainer: Trainer, task: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        gradients = [
            parameter.grad for parameter in task.parameters() if parameter.grad is not None
        ]
        task.log("step/gradient_norm", torch.nn.utils.get_total_norm(gradients))

    def on_train_batch_end(
        self, trainer: Trainer, task: LightningModule, outputs: object, batch: dict, batch_idx: int
    ) -> None:
        now = time.monotonic()
        self._recent.append((self._waited, now - self._free_since, len(batch["labels"])))
        self._free_since = now
        waited, passed, clips = map(sum, zip(*self._recent, strict=True))
        measured = {
            "data_wait_share": waited / passed,
            "clips_per_sec": clips * trainer.world_size / passed,
            "peak_memory_gb": peak_memory_gb(task.device),
        }
        task.log_dict(
            {f"step/{name}": value for name, value in measured.items()},
            batch_size=len(batch["labels"]),
        )


def peak_memory_gb(device: torch.device) -> float:
    """Return the most memory that this process, or torch on its GPU, has held."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
