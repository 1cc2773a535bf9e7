"""Networks of frames with TSN's average consensus; TSN itself, with or without spatial attention (STA-TSN's Table 2, rows 1-3)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sta_tsn.models.map_backbone import Backbone, build_backbone
from sta_tsn.models.spatial_attention import SpatialAttention

FRAMES_PER_CPU_PASS = (
    5  # a batch whose maps stay in the cache: 1.5 times the speed of 30 (MobileNetV2, fp32)
)


class ActionOutput(NamedTuple):
    """scores (B, K) before the softmax; alpha (B, N, T, H, W); beta (B, N, T). Of skeletons, J joints: alpha (B, T, J), beta (B, T).
    None where not computed."""

    scores: Tensor
    spatial_weights: Tensor | None = None
    temporal_weights: Tensor | None = None


class FrameEncoder(nn.Module):
    """Frames to features F: (..., C, S, S) -> (..., D) and, with attention, alpha (..., H, W).

    Args:
        cnn: map extractor; images that hold several frames on their channels (C a multiple of its own) become as many maps.
        attention: maps of M images to F (M, D) and alpha (M, H, W); None: global average pooling.
        feature_dim: how many of the D features the class scores are made from (all but in STIN's flow stream); where None the CNN's D.
    """

    def __init__(
        self, cnn: Backbone, attention: nn.Module | None = None, feature_dim: int | None = None
    ):
        super().__init__()
        self.cnn, self.attention = cnn, attention
        self.feature_dim = feature_dim or cnn.num_features
        self.inserted: list[nn.Module] = []  # nothing of ours lies inside the CNN
        self._folded: list[nn.Module] = []  # in a list, so that it is no submodule

    @contextmanager
    def folded(self) -> Iterator[None]:
        """Inside, images on the CPU meet convolutions with batch norms folded in: twice the speed, equal to 1e-4."""
        if self.cnn.mean.device.type == "cpu":
            self._folded.append(self.cnn.fold())
        try:
            yield
        finally:
            self._folded.clear()

    def forward(self, clips: Tensor) -> tuple[Tensor, Tensor | None]:
        leading, images = clips.shape[:-3], clips.flatten(0, -4)
        at_once = len(images) if images.is_cuda or torch.is_grad_enabled() else FRAMES_PER_CPU_PASS
        features, weights = zip(
            *(self._encode(chunk) for chunk in images.split(at_once)), strict=True
        )
        features = torch.cat(features).unflatten(0, leading)
        return features, None if self.attention is None else torch.cat(weights).unflatten(
            0, leading
        )

    def _encode(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        cnn = self._folded[0] if self._folded and images.device.type == "cpu" else self.cnn
        maps = cnn(images.unflatten(1, (-1, self.cnn.num_channels)).flatten(0, 1))
        return (maps.mean((2, 3)), None) if self.attention is None else self.attention(maps)


def class_scores(feature_dim: int, num_classes: int) -> nn.Linear:
    """The fully connected layer, N(0, 0.001) as in TSN."""
    layer = nn.Linear(feature_dim, num_classes)
    nn.init.normal_(layer.weight, std=0.001)
    nn.init.zeros_(layer.bias)
    return layer


class FrameConsensus(nn.Module):
    """One score per frame from an encoder's features, and TSN's average consensus over all frames.

    Args:
        encoder: clips (B, N, T, C, S, S) to features (B, N, T, D) and alpha or None.
        num_classes: K.
        dropout: before the fully connected layer.
        settings: the subclass's own, beside those named here: arguments that build the network again without its weights.
    """

    def __init__(self, encoder: nn.Module, num_classes: int, dropout: float, **settings):
        super().__init__()
        self.encoder, self.dropout = encoder, nn.Dropout(dropout)
        self.head = class_scores(encoder.feature_dim, num_classes)
        self.settings = {
            "num_classes": num_classes,
            "backbone": encoder.cnn.settings,
            "dropout": dropout,
            **settings,
        }

    @property
    def input_px(self) -> int:
        return self.encoder.cnn.input_px

    def classify(self, features: Tensor) -> ActionOutput:
        """Features (B, N, T, D) to scores: the mean of the frames' scores."""
        return ActionOutput(self.head(self.dropout(features)).mean((1, 2)))

    def forward(self, clips: Tensor) -> ActionOutput:  # (B, N, T, C, S, S)
        features, spatial_weights = self.encoder(clips)
        return self.classify(features)._replace(spatial_weights=spatial_weights)


class TSN(FrameConsensus):
    """CNN, optional spatial attention, average consensus.

    Args:
        num_classes: K.
        backbone, weights, num_channels: see `build_backbone`.
        spatial_attention: Eq 3-7; plain global average pooling without it.
        pool_sizes, focus, pool_mode: see `SpatialAttention`.
        dropout: before the fully connected layer.

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
        super().__init__(FrameEncoder(cnn, attention), num_classes, dropout, **settings)
