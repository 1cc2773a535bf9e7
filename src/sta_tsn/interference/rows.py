"""Five ways from the features of a spliced video's frames to class scores."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sta_tsn.models.temporal_attention import KeyFrameAttention
from sta_tsn.models.tsn import ActionOutput


class SplicedClassifier(nn.Module):
    """Summarise segments and classify them by one fully connected layer.

    Args:
        pooling: features (B, N, T, D) and key frames, bool (B, N, T), to segments (B, N, D) or
            (B, 1, D), and the weight of every frame (B, N, T) whose sum over a video is 1.
        feature_dim: D.
        num_classes: K.
        dropout: before the fully connected layer.
    """

    def __init__(self, pooling: nn.Module, feature_dim: int, num_classes: int, dropout: float):
        super().__init__()
        self.pooling = pooling
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(feature_dim, num_classes)
        nn.init.normal_(self.head.weight, std=0.001)
        nn.init.zeros_(self.head.bias)

    def forward(self, features: Tensor, key_frames: Tensor) -> ActionOutput:
        """Return scores (B, K), the mean of the segments', and the weights (B, N, T)."""
        segments, weights = self.pooling(features, key_frames)
        scores = self.head(self.dropout(segments)).mean(1)
        return ActionOutput(scores, temporal_weights=weights)


class MeanPooling(nn.Module):
    """Give every frame the same weight: TSN's consensus."""

    def forward(self, features: Tensor, key_frames: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean (B, 1, D) and equal weights (B, N, T)."""
        weights = torch.ones_like(key_frames, dtype=features.dtype)
        weights = weights / weights[0].numel()
        return features.mean((1, 2)).unsqueeze(1), weights


class SegmentAttention(nn.Module):
    """Weight the frames of each segment by STA-TSN's beta (Eq 8-11), all segments equally.

    Args:
        feature_dim: D.
        hidden_dim: of the LSTM.
    """

    def __init__(self, feature_dim: int, hidden_dim: int):
        super().__init__()
        self.attention = KeyFrameAttention(feature_dim, hidden_dim)

    def forward(self, features: Tensor, key_frames: Tensor) -> tuple[Tensor, Tensor]:
        """Return segments (B, N, D), and beta over the number of segments (B, N, T)."""
        segments, beta = self.attention(features)
        return segments, beta / beta.shape[1]


class OraclePooling(nn.Module):
    """Give the clip's frames the same weight and unrelated ones none, in training and testing.

    A segment without a frame of the clip is left out of the consensus, which no beta can do.
    """

    def forward(self, features: Tensor, key_frames: Tensor) -> tuple[Tensor, Tensor]:
        """Return the key frames' mean (B, 1, D) and their weights (B, N, T)."""
        weights = key_frames.to(features.dtype)
        weights = weights / weights.sum((1, 2), keepdim=True)
        return torch.einsum("bnt,bntd->bd", weights, features).unsqueeze(1), weights


class PositionedAttention(nn.Module):
    """Weight all frames of a video by one softmax over what they show and where they stand.

        e_t = v . tanh(W F_t + p_t),  w = softmax over all N * T frames

    p_t is learned, one for every place.

    Args:
        feature_dim: D.
        hidden_dim: of e's hidden layer.
        num_frames: N * T.
    """

    def __init__(self, feature_dim: int, hidden_dim: int, num_frames: int):
        super().__init__()
        self.content = nn.Linear(feature_dim, hidden_dim)
        self.place = nn.Parameter(torch.zeros(num_frames, hidden_dim))
        self.score = nn.Linear(hidden_dim, 1)

    def forward(self, features: Tensor, key_frames: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weighted mean (B, 1, D) and the weights (B, N, T)."""
        frames = features.flatten(1, 2)
        hidden = torch.tanh(self.content(frames) + self.place)
        logits = self.score(hidden).squeeze(-1)
        weights = logits.softmax(1)
        pooled = torch.einsum("bt,btd->bd", weights, frames).unsqueeze(1)
        return pooled, weights.unflatten(1, features.shape[1:3])


@dataclass(frozen=True)
class InterferenceRow:
    """Describe one row of the study.

    Args:
        title: in the report.
        name: of its folder.
        build: makes the pooling from D, hidden units and N * T.
        regularized: whether l_MSE (Eq 12-13) is added to the loss.
    """

    title: str
    name: str
    build: Callable[[int, int, int], nn.Module]
    regularized: bool = False


def _mean(feature_dim: int, hidden_dim: int, num_frames: int) -> nn.Module:
    return MeanPooling()


def _beta(feature_dim: int, hidden_dim: int, num_frames: int) -> nn.Module:
    return SegmentAttention(feature_dim, hidden_dim)


def _oracle(feature_dim: int, hidden_dim: int, num_frames: int) -> nn.Module:
    return OraclePooling()


MEAN = InterferenceRow("mean over frames", "mean", _mean)
BETA_ALONE = InterferenceRow("β without l_MSE", "beta_alone", _beta)
BETA = InterferenceRow("β (STA-TSN)", "beta", _beta, regularized=True)
POSITIONED = InterferenceRow("attentive pooling, positions", "positioned", PositionedAttention)
ORACLE = InterferenceRow("true key frames (oracle)", "oracle", _oracle)
ROWS = (MEAN, BETA_ALONE, BETA, POSITIONED, ORACLE)
