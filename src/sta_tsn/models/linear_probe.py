"""The plainest head on frozen features: the mean of all frames, one fully connected layer."""

from torch import Tensor, nn
from torch.nn import functional as F

from sta_tsn.models.tsn import ActionOutput


class LinearProbe(nn.Module):
    """Score a video by the mean feature of its frames: blind to their order.

    Args:
        feature_dim: D.
        num_classes: K.

    Example:
        >>> import torch
        >>> probe = LinearProbe(16, 5)
        >>> probe(probe.prepare(torch.rand(2, 3, 10, 16))).scores.shape
        torch.Size([2, 5])
    """

    def __init__(self, feature_dim: int, num_classes: int):
        super().__init__()
        self.head = nn.Linear(feature_dim, num_classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    @staticmethod
    def prepare(features: Tensor) -> Tensor:
        """Return the mean (B, D) of features (B, N, T, D), which all heads of a grid share."""
        return features.mean((1, 2))

    def forward(self, means: Tensor) -> ActionOutput:
        return ActionOutput(self.head(means))

    @staticmethod
    def scores_of_stack(parameters: dict[str, Tensor], means: Tensor) -> Tensor:
        """Return the scores (G, B, K) of G probes, whose parameters are stacked (G, ...).

        Args:
            parameters: by the names that they have in one probe.
            means: (B, D), which all of them see.
        """
        weight = parameters["head.weight"]  # (G, K, D)
        scores = F.linear(means, weight.flatten(0, 1), parameters["head.bias"].flatten())
        return scores.unflatten(1, weight.shape[:2]).transpose(0, 1)
