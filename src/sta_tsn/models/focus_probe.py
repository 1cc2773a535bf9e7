"""alpha and beta on frozen maps: the whole of STA-TSN behind any encoder."""

from typing import NamedTuple

from torch import Tensor, nn

from sta_tsn.models.spatial_attention import SpatialAttention
from sta_tsn.models.temporal_attention import KeyFrameAttention
from sta_tsn.models.tsn import ActionOutput


class PooledMaps(NamedTuple):
    """Maps (B N T, C, H, W) with the levels of their pyramid, and B, N, T."""

    maps: Tensor
    levels: list[Tensor]
    grid: tuple[int, int, int]


class FocusProbe(nn.Module):
    """Attend to the positions of each frame's map (Eq 3-7), then to the frames (Eq 8-11).

    Args:
        feature_dim: D, the channels of the maps.
        num_classes: K.
        hidden_dim: of the LSTM.
        pool_sizes: see `SpatialAttention`.

    Example:
        >>> import torch
        >>> probe = FocusProbe(16, 5, 8)
        >>> output = probe(probe.prepare(torch.rand(2, 3, 4, 7, 7, 16)))
        >>> output.scores.shape, output.spatial_weights.shape
        (torch.Size([2, 5]), torch.Size([2, 3, 4, 7, 7]))
    """

    def __init__(
        self,
        feature_dim: int,
        num_classes: int,
        hidden_dim: int = 64,
        pool_sizes: tuple[int, ...] = (1, 3, 5, 7),
    ):
        super().__init__()
        self.focus = SpatialAttention(feature_dim, pool_sizes)
        self.attention = KeyFrameAttention(feature_dim, hidden_dim)
        self.head = nn.Linear(feature_dim, num_classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def prepare(self, maps: Tensor) -> PooledMaps:
        """Pool maps (B, N, T, H, W, D): nothing of it is learned, all heads of a grid share it."""
        flat = maps.flatten(0, 2).permute(0, 3, 1, 2)
        levels = list(self.focus.pyramid.levels(flat))
        return PooledMaps(flat, levels, maps.shape[:3])

    def forward(self, pooled: PooledMaps) -> ActionOutput:
        """Return the scores of pooled maps, with alpha and beta."""
        features, alpha = self.focus.attend(pooled.maps, pooled.levels)
        features = features.unflatten(0, pooled.grid)
        alpha = alpha.unflatten(0, pooled.grid)
        segments, beta = self.attention(features)
        scores = self.head(segments).mean(1)
        return ActionOutput(scores, alpha, beta)
