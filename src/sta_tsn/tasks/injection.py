"""STIN's streams: stage one with an auxiliary loss on what was injected."""

from typing import ClassVar, Literal

import torch

from sta_tsn.errors import ConfigError
from sta_tsn.models import STIN
from sta_tsn.tasks.backbone import FrameRecognition, num_channels, sized
from sta_tsn.tasks.recognition import classification_loss


class InjectionBackbone(FrameRecognition):
    """Trains one stream of `STIN`: L = CE(scores) + auxiliary_weight * CE(auxiliary scores).

    Args:
        classes: see `FrameRecognition`.
        backbone: timm name of a CNN, or the settings of one as a dict.
        weights: `imagenet`, `none` or a safetensors/pth file.
        pair_distance: of the clips, in frames; the data module gives it, and it travels in the
            checkpoint. RGB wants pairs of frames.
        auxiliary_weight: lambda; 0.5 is a reading.
        dropout: before the fully connected layers.
        lr: see `FrameRecognition`, as the following ones.
        head_lr_scale: of everything that is not the timm backbone.
        lr_milestones: epochs after which the rate is divided by 10; None: a cosine.
        weight_decay: of weights.
        label_smoothing: share of the target, 0 to 1.
        modality: `rgb` or `flow`; it chooses the stream.
        trained_batch_norms: which keep learning.
        frozen_share: share of the backbone's layers that do not, 0 to 1.
        input_px: side of the crops that the backbone is fed, of whatever share of the frame. None:
            timm's for it, mostly the paper's 224.
        optimizer: `sgd` or `adamw`.

    Raises:
        ConfigError: RGB without pairs.
    """

    metrics: ClassVar = (*FrameRecognition.metrics, "train/loss_ce", "train/loss_auxiliary")

    def __init__(
        self,
        classes: list[str],
        backbone: str | dict = "resnet50",
        weights: str = "imagenet",
        pair_distance: int = 0,
        auxiliary_weight: float = 0.5,
        dropout: float = 0.8,
        lr: float = 1e-3,
        head_lr_scale: float = 1.0,
        lr_milestones: tuple[int, ...] | None = (30, 60),
        weight_decay: float = 5e-4,
        label_smoothing: float = 0.0,
        modality: Literal["rgb", "flow"] = "rgb",
        trained_batch_norms: Literal["all", "first", "none"] = "first",
        frozen_share: float = 0.0,
        input_px: int | None = None,
        optimizer: Literal["sgd", "adamw"] = "sgd",
    ):
        if modality == "rgb" and not pair_distance:
            raise ConfigError(
                "data.pair_distance=0: STIN on RGB learns from pairs of frames; give the frames "
                "from one to the other, as 5."
            )
        network = STIN(
            len(classes), sized(backbone, input_px), weights, dropout, num_channels(modality)
        )
        super().__init__(
            network,
            classes,
            lr,
            head_lr_scale,
            lr_milestones,
            weight_decay,
            label_smoothing,
            modality,
            trained_batch_norms,
            frozen_share,
            optimizer,
        )

    def training_step(self, batch: dict) -> torch.Tensor:
        features, _ = self.model.encoder(batch["clips"].squeeze(1))
        scores = self.model.classify(features).scores
        smoothing = self.hparams.label_smoothing
        cross_entropy = classification_loss(scores, batch["labels"], smoothing)
        auxiliary = classification_loss(
            self.model.auxiliary_scores(features), batch["labels"], smoothing
        )
        loss = cross_entropy + self.hparams.auxiliary_weight * auxiliary
        self.log_training(
            loss, scores, batch["labels"], loss_ce=cross_entropy, loss_auxiliary=auxiliary
        )
        return loss
