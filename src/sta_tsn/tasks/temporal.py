"""Stage two: the LSTM attention over key frames, trained on the frozen features of stage one."""

from typing import ClassVar

import torch

from sta_tsn.artefacts import load_checkpoint
from sta_tsn.errors import ConfigError
from sta_tsn.models import STATSN, temporal_attention_regularization
from sta_tsn.tasks.recognition import ActionRecognition, classification_loss


class TemporalAttentionTSN(ActionRecognition):
    """Trains LSTM, 1x1 convolution and fully connected layer of a `STATSN`.

        loss = CE(scores, y) + l_MSE                                 Eq 14

    The CNN is frozen and not run. The paper: SGD with momentum 0.9, batch 128, learning rate 1e-3
    divided by 10 every 3000 iterations, end at 15000. Weight decay 5e-4 is a reading. The
    checkpoint holds stage one's weights too, so that it alone can score a video.

    Args:
        classes: class names; their number is K.
        backbone_checkpoint: stage one's checkpoint. None when a checkpoint of this class is loaded.
        network: arguments of `STATSN`, read from `backbone_checkpoint`; given when a checkpoint is
            loaded.
        hidden_dim: of the LSTM; the paper's 2048.
        dropout: before the fully connected layer.
        lr: learning rate.
        lr_step_iterations: iterations after which the rate is divided by 10.
        weight_decay: of all trained parameters.
        temporal_regularization: add l_MSE to the loss; it is logged in either case.
        frames: segments x frames of each that the data has, for whoever shows the network another
            video. None: of an older checkpoint, the paper's 3 x 10.

    Raises:
        ConfigError: `backbone_checkpoint` is of another kind of network.
    """

    metrics: ClassVar = (
        *ActionRecognition.metrics,
        "train/loss_ce",
        "train/loss_mse",
        "train/share_judged_false",
    )

    def __init__(
        self,
        classes: list[str],
        backbone_checkpoint: str | None = None,
        network: dict | None = None,
        hidden_dim: int = 2048,
        dropout: float = 0.8,
        lr: float = 1e-3,
        lr_step_iterations: int = 3000,
        weight_decay: float = 5e-4,
        temporal_regularization: bool = True,
        frames: tuple[int, int] | None = None,
    ):
        if (backbone_checkpoint is None) == (network is None):
            raise ValueError("give backbone_checkpoint (to train) or network (to load), not both")
        state = load_checkpoint(backbone_checkpoint) if backbone_checkpoint else None
        network = network or _network_of(state["hyper_parameters"])
        super().__init__(STATSN(hidden_dim=hidden_dim, dropout=dropout, **network), classes)
        if state:
            self._start_from(state["state_dict"], backbone_checkpoint)
        self.model.encoder.requires_grad_(False)
        self.keep_hyperparameters("backbone_checkpoint")

    def _start_from(self, state: dict[str, torch.Tensor], path: str) -> None:
        """Take over stage one's weights; what is new is the attention over frames."""
        weights = {}
        for key, value in state.items():
            if key.startswith("model."):
                weights[key.removeprefix("model.")] = value
        missing, unexpected = self.model.load_state_dict(weights, strict=False)
        if unexpected or any(not name.startswith("attention.") for name in missing):
            raise ConfigError(
                f"model.backbone_checkpoint={path} is not of a CNN as in Table 2 "
                "(experiments/models/sta_tsn)."
            )

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self.model.encoder.eval()

    def training_step(self, batch: dict) -> torch.Tensor:
        output = self.model.classify(batch["features"].squeeze(1).float())
        cross_entropy = classification_loss(output.scores, batch["labels"])
        regularization = temporal_attention_regularization(
            output.temporal_weights, batch["relevant"]
        )
        loss = cross_entropy
        if self.hparams.temporal_regularization:
            loss = loss + regularization
        judged_false = (~batch["relevant"]).float().mean()
        self.log_training(
            loss,
            output.scores,
            batch["labels"],
            loss_ce=cross_entropy,
            loss_mse=regularization,
            share_judged_false=judged_false,
        )
        return loss

    def validation_step(self, batch: dict) -> None:
        self.log_validation(
            self.model.classify(batch["features"].squeeze(1).float()).scores, batch["labels"]
        )

    def configure_optimizers(self) -> dict:
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        recipe = self.hparams
        optimizer = torch.optim.SGD(
            trained, lr=recipe.lr, momentum=0.9, weight_decay=recipe.weight_decay
        )
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, recipe.lr_step_iterations, gamma=0.1)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }


def _network_of(hyper_parameters: dict) -> dict:
    """Return the arguments of `STATSN` that stage one's checkpoint determines."""
    network = {"num_classes": len(hyper_parameters["classes"])}
    for name in ("backbone", "spatial_attention", "pool_sizes", "focus", "pool_mode"):
        if name in hyper_parameters:  # older checkpoints have no pool_mode
            network[name] = hyper_parameters[name]
    return network
