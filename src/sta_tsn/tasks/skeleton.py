"""STA-LSTM's joint training: attention subnets and main LSTM, trained in phases of one run."""

import math
from collections.abc import Iterable
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from sta_tsn.errors import ConfigError
from sta_tsn.models import (
    STALSTM,
    ActionOutput,
    frame_attention_regularization,
    joint_attention_regularization,
)
from sta_tsn.models.sta_lstm import MainLSTM, attend
from sta_tsn.tasks.recognition import ActionRecognition, classification_loss


class Phase(NamedTuple):
    """What is trained for some epochs.

    Attributes:
        name: for the reader.
        epochs: their number.
        uses: subnets that attend; of the others alpha or beta is 1.
        trained: modules whose parameters change.
        fresh: the main LSTM that starts anew, if one does.
    """

    name: str
    epochs: int
    uses: tuple[str, ...]
    trained: tuple[str, ...]
    fresh: str | None = None

    @property
    def main(self) -> str:
        return "shallow" if "shallow" in self.trained else "main"


def joint_training(
    spatial: bool, temporal: bool, subnet_epochs: int, main_epochs: int, finetune_epochs: int
) -> list[Phase]:
    """Return the paper's eight steps; for the ablations those that are left.

    With one subnet three are left, without any one. Steps 1 to 3 train the temporal subnet with a
    main LSTM of one layer; a new main LSTM of three layers over the fixed subnet; both. Steps 4 to
    6 are the spatial subnet's. Step 7 trains a new main LSTM over both fixed, step 8 everything.

    Readings: a main LSTM whose number of layers changes, or whose subnets do, starts anew; the row
    without a subnet trains as long as steps 7 and 8.
    """
    subnets: tuple[str, ...] = ()
    if temporal:
        subnets += ("temporal",)
    if spatial:
        subnets += ("spatial",)
    phases = []
    for subnet in subnets:
        phases += [
            Phase(
                f"{subnet} subnet", subnet_epochs, (subnet,), (subnet, "shallow"), fresh="shallow"
            ),
            Phase(f"main on {subnet}", main_epochs, (subnet,), ("main",), fresh="main"),
            Phase(f"{subnet} and main", finetune_epochs, (subnet,), (subnet, "main")),
        ]
    if len(subnets) == 2:
        phases += [
            Phase("main on both", main_epochs, subnets, ("main",), fresh="main"),
            Phase("all", finetune_epochs, subnets, (*subnets, "main")),
        ]
    return phases or [Phase("main", main_epochs + finetune_epochs, (), ("main",), fresh="main")]


class SkeletonAttention(ActionRecognition):
    """Trains a `STALSTM` by `joint_training`, with Adam and the regularised loss.

    The phase follows from the epoch alone; at its first epoch Adam's state is emptied and a fresh
    main LSTM drawn from the run's seed, so that a killed run goes on as if it had not been. The run
    ends with the last phase. val/loss and best.ckpt are of the phase under way.

    Args:
        classes: class names; their number is K.
        num_joints: J, of all persons together.
        spatial_attention: attend to joints. With both, STA-LSTM; with one, SA- or TA-LSTM.
        temporal_attention: attend to frames.
        hidden_dim: see `STALSTM`.
        num_layers: see `STALSTM`.
        rescale_joints: see `STALSTM`.
        dropout: see `STALSTM`.
        subnet_epochs: of the phases that train a subnet with a main LSTM of one layer.
        main_epochs: of the phases that train a main LSTM on fixed subnets.
        finetune_epochs: of the phases that train both.
        lr: of Adam at the start of each phase; it falls to 0 along a cosine (reading).
        frame_lr_scale: the temporal subnet's rate, as a multiple (reading). At 1 beta moves by some
            tenths with each step, shrinks before the main LSTM has learnt anything and ends at 0,
            where the ReLU has no gradient: on SBU within an epoch.
        joint_regularization: lambda 1, see `regularized_loss`.
        frame_regularization: lambda 2.
        weight_regularization: lambda 3.

    Raises:
        ConfigError: a number of epochs below 1.
    """

    metrics: ClassVar = (
        *ActionRecognition.metrics,
        *(f"train/loss_{term}" for term in ("ce", "joints", "frames", "weights")),
    )

    def __init__(
        self,
        classes: list[str],
        num_joints: int,
        spatial_attention: bool = True,
        temporal_attention: bool = True,
        hidden_dim: int = 100,
        num_layers: int = 3,
        rescale_joints: bool = False,
        dropout: float = 0.5,
        subnet_epochs: int = 30,
        main_epochs: int = 60,
        finetune_epochs: int = 30,
        lr: float = 2e-3,
        frame_lr_scale: float = 0.1,
        joint_regularization: float = 1e-3,
        frame_regularization: float = 1e-4,
        weight_regularization: float = 5e-4,
    ):
        for name, epochs in (
            ("subnet", subnet_epochs),
            ("main", main_epochs),
            ("finetune", finetune_epochs),
        ):
            if epochs < 1:
                raise ConfigError(f"model.{name}_epochs={epochs}: a number of epochs, at least 1.")
        network = STALSTM(
            len(classes),
            num_joints,
            hidden_dim,
            num_layers,
            spatial_attention,
            temporal_attention,
            rescale_joints,
            dropout,
        )
        super().__init__(network, classes)
        self.keep_hyperparameters()
        self.shallow = MainLSTM(num_joints, len(classes), hidden_dim, 1, dropout)
        self.phases = joint_training(
            spatial_attention, temporal_attention, subnet_epochs, main_epochs, finetune_epochs
        )
        self.coefficients = (joint_regularization, frame_regularization, weight_regularization)

    def forward(self, joints: Tensor, lengths: Tensor | None = None) -> ActionOutput:
        return self.model(joints, lengths)

    def phase_at(self, epoch: int) -> tuple[int, Phase, int]:
        """Number (from 0), phase, and the epoch within it; after the end the last phase."""
        for number, phase in enumerate(self.phases):
            if epoch < phase.epochs or number == len(self.phases) - 1:
                return number, phase, epoch
            epoch -= phase.epochs
        raise AssertionError("there is always a phase")

    def part(self, name: str) -> torch.nn.Module:
        return self.shallow if name == "shallow" else getattr(self.model, name)

    def on_fit_start(self) -> None:
        super().on_fit_start()
        if self.trainer.world_size > 1:
            raise ConfigError(
                f"trainer.devices: {self.trainer.world_size} processes, but STA-LSTM trains on "
                "one device: eight short sequences a step leave nothing to share. Give 1."
            )
        total, loop = sum(phase.epochs for phase in self.phases), self.trainer.fit_loop
        loop.max_epochs = total if loop.max_epochs in (None, -1) else min(total, loop.max_epochs)
        if loop.max_epochs < total and self.trainer.is_global_zero:
            print(
                f"trainer.max_epochs={loop.max_epochs} of {total} epochs: the phases that train "
                "what is tested are cut short."
            )

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        number, phase, epoch = self.phase_at(self.current_epoch)
        optimizer = self.optimizers().optimizer
        if epoch == 0:
            optimizer.state.clear()
            for callback in self.trainer.checkpoint_callbacks:
                callback.best_k_models.clear()  # losses of two phases do not compare
            if phase.fresh:
                torch.manual_seed(self._first_seed + number)
                for module in self.part(phase.fresh).modules():
                    if hasattr(module, "reset_parameters"):
                        module.reset_parameters()
        self.requires_grad_(False)
        for name in phase.trained:
            self.part(name).requires_grad_(True)
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * (1 + math.cos(math.pi * epoch / phase.epochs)) / 2
        self.log("phase", float(number + 1))

    def _attend(self, batch: dict) -> ActionOutput:
        _, phase, _ = self.phase_at(self.current_epoch)
        subnets = [
            self.part(name) if name in phase.uses else None for name in ("spatial", "temporal")
        ]
        return attend(batch["joints"], batch["lengths"], self.part(phase.main), *subnets)

    def training_step(self, batch: dict) -> Tensor:
        output = self._attend(batch)
        weights = [
            parameter
            for parameter in self.parameters()
            if parameter.requires_grad and parameter.ndim > 1
        ]
        terms = regularized_loss(
            output, batch["labels"], batch["lengths"], weights, self.coefficients
        )
        loss = terms.pop("loss")
        self.log_training(loss, output.scores, batch["labels"], **terms)
        return loss

    def validation_step(self, batch: dict) -> None:
        self.log_validation(self._attend(batch).scores, batch["labels"])

    def answer(self, batch: dict) -> ActionOutput:
        """Return log p (B, K) of sequences, p the softmax of o averaged over their views.

        The joints are (B, T, V, J, 3). o alone grows with a sequence's length, and mAP compares
        sequences.
        """
        views = [self.model(view, batch["lengths"]).scores for view in batch["joints"].unbind(2)]
        return ActionOutput(torch.stack(views).mean(0).log_softmax(-1))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        frames = [] if self.model.temporal is None else list(self.model.temporal.parameters())
        others = [
            parameter
            for parameter in self.parameters()
            if all(parameter is not one for one in frames)
        ]
        lr = self.hparams.lr
        rates = [(others, lr), (frames, lr * self.hparams.frame_lr_scale)]
        return torch.optim.Adam(
            [{"params": params, "lr": lr, "initial_lr": lr} for params, lr in rates if params]
        )


def regularized_loss(
    output: ActionOutput,
    labels: Tensor,
    lengths: Tensor,
    weights: Iterable[Tensor],
    coefficients: tuple[float, float, float],
) -> dict[str, Tensor]:
    """Return the loss and its terms.

        loss = CE + l1 sum over j of (1 - mean over t of alpha_j)^2 + l2 mean over t of |beta|
               + l3 |W|_1

    Readings: alpha as printed, summing to 1 over the joints, so the first sum stays at J - 2 + 1/J
    or above unless joints are rescaled; terms of an attention that is not in use are 0; W are the
    matrices in training, without biases; the first three terms are means over the sequences of the
    batch, the last is added once.

    Args:
        output: with alpha (B, T, J) and beta (B, T), or None for them.
        labels: multi-hot (B, K).
        lengths: frames (B,).
        weights: W.
        coefficients: l1, l2, l3; the paper's 1e-3, 1e-4, 5e-4.
    """
    nothing = output.scores.new_zeros(())
    terms = {"loss_ce": classification_loss(output.scores, labels)}
    terms["loss_joints"] = nothing
    if output.spatial_weights is not None:
        of_joints = joint_attention_regularization(output.spatial_weights, lengths)
        terms["loss_joints"] = coefficients[0] * of_joints
    terms["loss_frames"] = nothing
    if output.temporal_weights is not None:
        of_frames = frame_attention_regularization(output.temporal_weights, lengths)
        terms["loss_frames"] = coefficients[1] * of_frames
    of_weights = sum((weight.abs().sum() for weight in weights), nothing)
    terms["loss_weights"] = coefficients[2] * of_weights
    return {"loss": sum(terms.values()), **terms}
