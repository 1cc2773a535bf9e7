"""Many copies of a head with settings of their own, trained side by side; one of them is chosen."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sta_tsn.models.tsn import ActionOutput


class HeadGrid(nn.Module):
    """G heads of one kind, which see the same standardised features.

    What does not depend on their parameters (`prepare`) is computed once. Heads that have a
    `scores_of_stack` are one computation on their stacked parameters: twenty matrices side by side
    are one. (`torch.func.vmap` copies the features for every head instead, and has no LSTM.) Heads
    with an LSTM, which is nearly all of their cost, follow one another.

    Args:
        heads: each with `prepare(features)` and `forward(prepared) -> ActionOutput`.
        feature_dim: D.

    Example:
        >>> from sta_tsn.models.linear_probe import LinearProbe
        >>> grid = HeadGrid([LinearProbe(16, 5) for _ in range(4)], 16)
        >>> grid.scores_of_all(torch.rand(2, 3, 10, 16)).shape
        torch.Size([4, 2, 5])
        >>> grid.classify(torch.rand(2, 3, 10, 16)).scores.shape
        torch.Size([2, 5])
    """

    def __init__(self, heads: Sequence[nn.Module], feature_dim: int):
        super().__init__()
        self.heads = nn.ModuleList(heads)
        self.register_buffer("mean", torch.zeros(feature_dim))
        self.register_buffer("deviation", torch.ones(feature_dim))
        self.register_buffer("chosen", torch.tensor(0))

    def standardized(self, features: Tensor) -> Tensor:
        """Return features (..., D) with the mean and deviation of the training frames taken off.

        Encoders differ in scale by orders of magnitude; the grid's learning rates shall not.
        """
        return (features - self.mean) / self.deviation

    def scores_of_all(self, features: Tensor) -> Tensor:
        """Return the scores (G, B, K) of every head."""
        prepared = self.heads[0].prepare(self.standardized(features))
        if not hasattr(self.heads[0], "scores_of_stack"):
            return torch.stack([head(prepared).scores for head in self.heads])
        stacked = {}
        for name, _ in self.heads[0].named_parameters():
            stacked[name] = torch.stack([head.get_parameter(name) for head in self.heads])
        return self.heads[0].scores_of_stack(stacked, prepared)

    def keep_chosen(self) -> None:
        """Drop all heads but the chosen one."""
        self.heads = nn.ModuleList([self.heads[int(self.chosen)]])
        self.chosen.zero_()

    def classify(self, features: Tensor, places: Tensor | None = None) -> ActionOutput:
        """Return what the chosen head says.

        Args:
            features: (B, N, T, D), or maps (B, N, T, H, W, D).
            places: of the frames in the video, for heads that are told them; None: all in order.
        """
        head = self.heads[0]
        if len(self.heads) > 1:  # a choice by value could not be exported
            head = self.heads[int(self.chosen)]
        prepared = head.prepare(self.standardized(features))
        return head(prepared) if places is None else head(prepared, places)
