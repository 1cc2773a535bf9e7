"""Nearest neighbours on frozen features: a head without anything to train."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sta_tsn.models.tsn import ActionOutput

TEMPERATURE = 0.07  # of the votes, as in Wu et al. (CVPR 2018) and DINO
LEAST_SHARE = 1e-6  # of a class that no neighbour has, so that its logarithm is a number


class NeighbourGrid(nn.Module):
    """Let the training videos nearest to a video vote for its class, for several numbers k of them.

        scores = log of the share of sum over the k neighbours of exp(cosine / temperature) label

    Videos are compared by the cosine of their standardised mean features.

    Args:
        neighbours: the numbers k; of more than there are videos, all vote.
        feature_dim: D.
        num_classes: K.
    """

    def __init__(self, neighbours: Sequence[int], feature_dim: int, num_classes: int):
        super().__init__()
        self.neighbours = tuple(neighbours)
        self.register_buffer("mean", torch.zeros(feature_dim))
        self.register_buffer("deviation", torch.ones(feature_dim))
        self.register_buffer("chosen", torch.tensor(0))
        self.register_buffer("bank", torch.zeros(0, feature_dim))
        self.register_buffer("bank_labels", torch.zeros(0, num_classes))

    def remember(self, features: Tensor, labels: Tensor) -> None:
        """Add training videos (B, N, T, D) with labels (B, K)."""
        self.bank = torch.cat([self.bank, self._directions(features)])
        self.bank_labels = torch.cat([self.bank_labels, labels])

    def forget(self) -> None:
        """Drop all training videos."""
        self.bank = self.bank[:0]
        self.bank_labels = self.bank_labels[:0]

    def scores_of_all(self, features: Tensor) -> Tensor:
        """Return the scores (G, B, K) for every k."""
        similarity = self._directions(features) @ self.bank.T  # (B, M)
        return torch.stack([self._vote(similarity, k) for k in self.neighbours])

    def classify(self, features: Tensor) -> ActionOutput:
        """Return what the chosen number of neighbours says."""
        similarity = self._directions(features) @ self.bank.T
        number = self.neighbours[0]
        if len(self.neighbours) > 1:  # a choice by value could not be exported
            number = self.neighbours[int(self.chosen)]
        return ActionOutput(self._vote(similarity, number))

    def keep_chosen(self) -> None:
        """Drop all numbers but the chosen one."""
        self.neighbours = (self.neighbours[int(self.chosen)],)
        self.chosen.zero_()

    def _directions(self, features: Tensor) -> Tensor:
        means = features.mean((1, 2))
        return F.normalize((means - self.mean) / self.deviation, dim=-1)

    def _vote(self, similarity: Tensor, k: int) -> Tensor:
        """Return scores (B, K) by the k training videos most similar to each of B videos."""
        k = min(k, similarity.shape[1])
        nearest = similarity.topk(k)
        weights = (nearest.values / TEMPERATURE).softmax(-1)  # (B, k)
        labels = self.bank_labels[nearest.indices]  # (B, k, K)
        shares = torch.einsum("bk,bkc->bc", weights, labels)
        return (shares + LEAST_SHARE).log()

    def _load_from_state_dict(self, state_dict, prefix, *rest) -> None:
        """Take over as many training videos as a checkpoint holds."""
        for name in ("bank", "bank_labels"):
            if prefix + name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[prefix + name]))
        super()._load_from_state_dict(state_dict, prefix, *rest)
