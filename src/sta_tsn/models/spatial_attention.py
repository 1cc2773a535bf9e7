"""Multi-scale spatial focus feature enhancement (STA-TSN, Fig 2, Eq 3-7)."""

from collections.abc import Iterable, Iterator
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SpatialPyramidPooling(nn.Module):
    """Pool features at several scales and stack them: (B, C, H, W) -> (B, len(sizes)*C, H, W).

    The paper gives "sizes of 1x1, 3x3, 5x5 and 7x7" and no more. Readings:
        stride1_max (default): max-pooling with these kernels, stride 1, same size; kernel 1 is the
            identity.
        adaptive: max-pooling into 1, 3, 5, 7 bins a side, each bin's value laid back over its
            positions. The 1x1 level is then the same everywhere and cancels in the softmax.

    Args:
        sizes: kernels (odd) or bins a side.
        mode: the reading.

    Raises:
        ValueError: an unknown mode, or an even kernel.
    """

    def __init__(
        self,
        sizes: tuple[int, ...] = (1, 3, 5, 7),
        mode: Literal["stride1_max", "adaptive"] = "stride1_max",
    ):
        super().__init__()
        if mode not in ("stride1_max", "adaptive"):
            raise ValueError(f"mode is stride1_max or adaptive, not {mode!r}")
        if mode == "stride1_max" and any(size % 2 == 0 for size in sizes):
            raise ValueError(
                f"stride-1 pooling keeps the map's size with odd kernels only, not {sizes}"
            )
        self.sizes = tuple(sizes)
        self.mode = mode

    def forward(self, maps: Tensor) -> Tensor:
        return torch.cat(list(self.levels(maps)), dim=1)

    def levels(self, maps: Tensor) -> Iterator[Tensor]:
        """Yield the levels (B, C, H, W) one after another, each made when it is asked for."""
        for size in self.sizes:
            yield self._pool(maps, size)

    def _pool(self, maps: Tensor, size: int) -> Tensor:
        if self.mode == "adaptive":
            bins = F.adaptive_max_pool2d(maps, size)
            return F.interpolate(bins, size=maps.shape[-2:], mode="nearest")
        if size == 1:
            return maps
        return F.max_pool2d(maps, size, stride=1, padding=size // 2)


class SpatialAttention(nn.Module):
    """Attend softly to positions, and add what is attended to the features it was computed from.

        alpha = softmax over H*W of Conv1x1(SPP(A))                 Eq 4, 5
        f     = alpha * A,  F = GAP(f + A)                          Eq 6, 7

    Eq 6 says "inner product". Readings: `elementwise` (default) broadcasts alpha over the channels,
    so F = mean((1 + alpha) A) and attention carries about 1/HW of the mass; `inner_product` takes
    f = sum(alpha A), a vector added at every position, so F = mean(A) + sum(alpha A).
    The convolution starts at zero, alpha at uniform (reading).

    Args:
        in_channels: C.
        pool_sizes: kernels or bins of the pyramid.
        focus: reading of Eq 6.
        pool_mode: reading of the pyramid.

    Raises:
        ValueError: an unknown reading, or an even kernel.

    Example:
        >>> features, weights = SpatialAttention(8)(torch.rand(2, 8, 7, 7))
        >>> features.shape, weights.shape
        (torch.Size([2, 8]), torch.Size([2, 7, 7]))
    """

    def __init__(
        self,
        in_channels: int,
        pool_sizes: tuple[int, ...] = (1, 3, 5, 7),
        focus: Literal["elementwise", "inner_product"] = "elementwise",
        pool_mode: Literal["stride1_max", "adaptive"] = "stride1_max",
    ):
        super().__init__()
        if focus not in ("elementwise", "inner_product"):
            raise ValueError(f"focus is elementwise or inner_product, not {focus!r}")
        self.focus = focus
        self.pyramid = SpatialPyramidPooling(pool_sizes, pool_mode)
        self.score = nn.Conv2d(len(pool_sizes) * in_channels, 1, kernel_size=1)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:  # (B, C, H, W) -> (B, C), (B, H, W)
        return self.attend(maps, self.pyramid.levels(maps))

    def attend(self, maps: Tensor, levels: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
        """Return what `forward` does of maps whose pyramid is there already.

        Args:
            maps: (B, C, H, W).
            levels: of the pyramid, (B, C, H, W) each.
        """
        logits = self._logits(levels)  # (B, 1, H, W)
        weights = logits.flatten(2).softmax(-1).unflatten(2, maps.shape[-2:])  # sums to 1 over H*W
        focused = weights * maps
        enhanced = focused.mean((2, 3)) if self.focus == "elementwise" else focused.sum((2, 3))
        return maps.mean((2, 3)) + enhanced, weights.squeeze(1)

    def _logits(self, levels: Iterable[Tensor]) -> Tensor:
        """Return Conv1x1(SPP(A)) as the sum of one 1x1 convolution a level.

        It equals the convolution of the concatenated levels, whose 4C channels never come to be.
        """
        kernels = self.score.weight.chunk(len(self.pyramid.sizes), dim=1)
        logits = self.score.bias.view(1, 1, 1, 1)
        for level, kernel in zip(levels, kernels, strict=True):
            logits = logits + F.conv2d(level, kernel)
        return logits
