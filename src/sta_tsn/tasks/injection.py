"""STIN's streams: stage one with an auxiliary loss on what was injected."""

from typing import ClassVar

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
        recipe: see `FrameRecognition`; its `modality` chooses the stream.

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
        **recipe,
    ):
        if recipe.get("modality", "rgb") == "rgb" and not pair_distance:
            raise ConfigError(
                "data.pair_distance=0: STIN on RGB learns from pairs of frames; give the frames "
                "from one to the other, as 5."
            )
        network = STIN(
            len(classes), sized(backbone, **recipe), weights, dropout, num_channels(**recipe)
        )
        super().__init__(network, classes, **recipe)

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
