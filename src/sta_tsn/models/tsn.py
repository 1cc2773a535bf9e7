"""Networks of frames with TSN's average consensus, and TSN itself.

TSN with or without spatial attention makes the rows 1 to 3 of STA-TSN's Table 2.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sta_tsn.models.map_backbone import Backbone, build_backbone
from sta_tsn.models.spatial_attention import SpatialAttention

# A batch whose maps stay in the cache: 1.5 times the speed of 30 (MobileNetV2, fp32).
FRAMES_PER_CPU_PASS = 5


class ActionOutput(NamedTuple):
    """Hold what every network returns: class scores and attention, None where not computed.

    Scores (B, K) are before the softmax; alpha is (B, N, T, H, W), beta (B, N, T). Of skeletons
    with J joints alpha is (B, T, J), beta (B, T).
    """

    scores: Tensor
    spatial_weights: Tensor | None = None
    temporal_weights: Tensor | None = None


class FrameEncoder(nn.Module):
    """Encode frames (..., C, S, S) as features F (..., D) and, with attention, alpha (..., H, W).

    Args:
        cnn: map extractor; images that hold several frames on their channels (C a multiple of its
            own) become as many maps.
        attention: turns maps of M images into F (M, D) and alpha (M, H, W); None: global average
            pooling.
        feature_dim: how many of the D features the class scores are made from (all but in STIN's
            flow stream); where None the CNN's D.
    """

    def __init__(
        self, cnn: Backbone, attention: nn.Module | None = None, feature_dim: int | None = None
    ):
        super().__init__()
        self.cnn = cnn
        self.attention = attention
        self.feature_dim = feature_dim or cnn.num_features
        self.inserted: list[nn.Module] = []  # nothing of ours lies inside the CNN
        self._folded: list[nn.Module] = []  # in a list, so that it is no submodule

    @contextmanager
    def folded(self) -> Iterator[None]:
        """Let images on the CPU meet convolutions with batch norms folded in, inside.

        That is twice the speed; features are equal to 1e-4.
        """
        if self.cnn.mean.device.type == "cpu":
            self._folded.append(self.cnn.fold())
        try:
            yield
        finally:
            self._folded.clear()

    def forward(self, clips: Tensor) -> tuple[Tensor, Tensor | None]:
        leading = clips.shape[:-3]
        images = clips.flatten(0, -4)
        at_once = FRAMES_PER_CPU_PASS
        if images.is_cuda or torch.is_grad_enabled():
            at_once = len(images)
        parts = [self._encode(chunk) for chunk in images.split(at_once)]
        features = torch.cat([part for part, _ in parts]).unflatten(0, leading)
        if self.attention is None:
            return features, None
        weights = torch.cat([part for _, part in parts]).unflatten(0, leading)
        return features, weights

    def in_one_pass(self, clips: Tensor) -> tuple[Tensor, Tensor | None]:
        """Encode all frames together, whatever memory that takes; exporters trace no loop."""
        leading = clips.shape[:-3]
        features, weights = self._encode(clips.flatten(0, -4))
        if weights is not None:
            weights = weights.unflatten(0, leading)
        return features.unflatten(0, leading), weights

    def _encode(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        maps = self._maps(images)
        if self.attention is None:
            return maps.mean((2, 3)), None
        return self.attention(maps)

    def _maps(self, images: Tensor) -> Tensor:
        """Return the map (C, H, W) of every frame on the channels of the images."""
        cnn = self.cnn
        if self._folded and images.device.type == "cpu":
            cnn = self._folded[0]
        frames = images.unflatten(1, (-1, self.cnn.num_channels)).flatten(0, 1)
        return cnn(frames)


def class_scores(feature_dim: int, num_classes: int) -> nn.Linear:
    """Return the fully connected layer, which starts at N(0, 0.001) as in TSN."""
    layer = nn.Linear(feature_dim, num_classes)
    nn.init.normal_(layer.weight, std=0.001)
    nn.init.zeros_(layer.bias)
    return layer


class FrameConsensus(nn.Module):
    """Score each frame from an encoder's features, and take TSN's average consensus of all frames.

    Args:
        encoder: turns clips (B, N, T, C, S, S) into features (B, N, T, D) and alpha or None.
        num_classes: K.
        dropout: before the fully connected layer.
        settings: the subclass's own, beside those named here: arguments that build the network
            again without its weights.
    """

    def __init__(
        self,
        encoder: nn.Module,
        num_classes: int,
        dropout: float,
        settings: dict | None = None,
    ):
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(dropout)
        self.head = class_scores(encoder.feature_dim, num_classes)
        self.settings = {
            "num_classes": num_classes,
            "backbone": encoder.cnn.settings,
            "dropout": dropout,
            **(settings or {}),
        }

    @property
    def input_px(self) -> int:
        return self.encoder.cnn.input_px

    def classify(self, features: Tensor) -> ActionOutput:
        """Return the mean of the frames' scores from features (B, N, T, D)."""
        return ActionOutput(self.head(self.dropout(features)).mean((1, 2)))

    def forward(self, clips: Tensor) -> ActionOutput:  # (B, N, T, C, S, S)
        features, spatial_weights = self.encoder(clips)
        return self.classify(features)._replace(spatial_weights=spatial_weights)


class TSN(FrameConsensus):
    """Score frames by a CNN with or without spatial attention, and take the average consensus.

    Args:
        num_classes: K.
        backbone: see `build_backbone`.
        weights: see `build_backbone`.
        spatial_attention: Eq 3-7; plain global average pooling without it.
        pool_sizes: see `SpatialAttention`.
        focus: see `SpatialAttention`.
        pool_mode: see `SpatialAttention`.
        dropout: before the fully connected layer.
        num_channels: see `build_backbone`.

    Example:
        >>> TSN(5, "resnet18")(torch.rand(2, 3, 1, 3, 224, 224)).scores.shape
        torch.Size([2, 5])
    """

    def __init__(
        self,
        num_classes: int,
        backbone: str | dict = "resnet152",
        weights: str = "none",
        spatial_attention: bool = True,
        pool_sizes: tuple[int, ...] = (1, 3, 5, 7),
        focus: str = "elementwise",
        pool_mode: str = "stride1_max",
        dropout: float = 0.8,
        num_channels: int = 3,
    ):
        cnn = build_backbone(backbone, weights, num_channels)
        readings = {"pool_sizes": tuple(pool_sizes), "focus": focus, "pool_mode": pool_mode}
        attention = SpatialAttention(cnn.num_features, **readings) if spatial_attention else None
        settings = {"spatial_attention": spatial_attention, **readings}
        super().__init__(FrameEncoder(cnn, attention), num_classes, dropout, settings)
