"""Training that goes wrong in numbers: stopped at the step, with the videos that were in it."""

import math
from pathlib import Path

import torch
from torch import Tensor

from sta_tsn.artefacts import write_json
from sta_tsn.errors import UserError
from sta_tsn.lightning import Callback, LightningDataModule, LightningModule, Trainer
from sta_tsn.tasks import ProbeGrid

NOT_FINITE = "not_finite.json"  # in the run's folder: the step, and ids of its videos
# Times the loss of guessing, ln K: no training that gets anywhere has an epoch like this.
FAR_ABOVE_GUESSING = 3


class DivergenceGuard(Callback):
    """Stops training at a gradient that is not finite, and says where a loss is that of no learner.

    A NaN or infinite loss makes such a gradient, on every process of DDP in the same step. With
    fp16's scaler, which meets infinite gradients in the course of its work, the loss is looked at.
    Of a grid of heads single ones may diverge: it chooses among the others.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path):
        self.file = folder / NOT_FINITE
        self._indices: list[Tensor] = []  # of the videos in this step, a tensor for each pass
        self._losses: list[Tensor] = []  # of this epoch
        self._has_spoken = False

    def on_fit_start(self, trainer: Trainer, task: LightningModule) -> None:
        if trainer.is_global_zero:
            self.file.unlink(missing_ok=True)

    def on_train_epoch_start(self, trainer: Trainer, task: LightningModule) -> None:
        self._losses = []

    def on_train_batch_start(
        self, trainer: Trainer, task: LightningModule, batch: dict, batch_idx: int
    ) -> None:
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self._indices = []
        self._indices.append(batch["index"])

    def on_before_optimizer_step(
        self, trainer: Trainer, task: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        if isinstance(task, ProbeGrid) or _scaler(trainer):
            return
        gradients = [one.grad for one in task.parameters() if one.grad is not None]
        if not torch.nn.utils.get_total_norm(gradients).isfinite():
            self._stop(trainer, "gradient")

    def on_train_batch_end(
        self, trainer: Trainer, task: LightningModule, outputs: dict, batch: dict, batch_idx: int
    ) -> None:
        if isinstance(task, ProbeGrid):
            return
        loss = outputs["loss"].detach()
        self._losses.append(loss)
        if _scaler(trainer) and not loss.isfinite():
            self._stop(trainer, "loss")

    def on_train_epoch_end(self, trainer: Trainer, task: LightningModule) -> None:
        if self._has_spoken or not self._losses or not trainer.is_global_zero:
            return
        # Lightning divides by the passes of a step.
        loss = torch.stack(self._losses).mean().item() * trainer.accumulate_grad_batches
        guessing = math.log(max(2, len(task.classes)))
        if loss > FAR_ABOVE_GUESSING * guessing:
            self._has_spoken = True
            print(
                f"\nEpoch {trainer.current_epoch}: the mean loss is {loss:.4g}, guessing alone has "
                f"{guessing:.2g}. Training diverges: lower the learning rate (model.lr, here "
                f"{_rate(trainer):g}).",
                flush=True,
            )

    def _stop(self, trainer: Trainer, what: str) -> None:
        """Save what the step was made of and end the training.

        Raises:
            UserError: always.
        """
        indices = torch.cat(self._indices).tolist()
        videos = ids_of(trainer.datamodule, indices)
        if what == "gradient" and trainer.world_size > 1:
            parts: list[list[str]] = [[]] * trainer.world_size
            torch.distributed.all_gather_object(parts, videos)
            videos = []
            for part in parts:
                videos.extend(part)
        step = {"epoch": trainer.current_epoch, "step": trainer.global_step}
        rate = _rate(trainer)
        if trainer.is_global_zero or what == "loss":
            write_json(self.file, {**step, "learning_rate": rate, "videos": videos})
        raise UserError(
            f"The {what} of step {step['step']} (epoch {step['epoch']}) is not finite, and "
            f"training ends here. The {len(videos)} videos of the step are in {self.file}. Lower "
            f"the learning rate (model.lr, here {rate:g}), or look at these videos."
        )


def ids_of(data: LightningDataModule, indices: list[int]) -> list[str]:
    """Return the names of training videos by their positions in a data module's list."""
    names = data.train_ids
    return [names[index] for index in indices]


def _scaler(trainer: Trainer):
    return getattr(trainer.precision_plugin, "scaler", None)


def _rate(trainer: Trainer) -> float:
    return trainer.optimizers[0].param_groups[0]["lr"]
