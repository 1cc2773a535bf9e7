"""Key frames exploration (STA-TSN, Fig 3, Eq 8-11) and its regularization (Eq 12-13)."""

import torch
from torch import Tensor, nn

from sta_tsn.models.recurrent import LSTM


class KeyFrameAttention(nn.Module):
    """Sum up each segment by its key frames; an LSTM over its frames says how much each counts.

        h     = LSTM(F[n, 1..T])
        beta  = softmax over T of Conv1d(h)                         Eq 9, 10
        F_n   = sum over t of beta_t F_t                            Eq 11

    The LSTM's state is reset at each segment, its weights are shared by the segments. Eq 11 prints
    F_{n,k}; F_{n,t} is meant. beta weights the CNN features, not the LSTM's outputs.

    Args:
        feature_dim: D.
        hidden_dim: of the LSTM; the paper's 2048.

    Example:
        >>> features, weights = KeyFrameAttention(16, 8)(torch.rand(2, 3, 10, 16))
        >>> features.shape, weights.shape
        (torch.Size([2, 3, 16]), torch.Size([2, 3, 10]))
    """

    def __init__(self, feature_dim: int, hidden_dim: int = 2048):
        super().__init__()
        self.lstm = LSTM(feature_dim, hidden_dim, batch_first=True)
        self.score = nn.Conv1d(hidden_dim, 1, kernel_size=1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return F_n (B, N, D) and beta (B, N, T) of features (B, N, T, D)."""
        hidden, _ = self.lstm(features.flatten(0, 1))  # (B*N, T, hidden)
        logits = self.score(hidden.transpose(1, 2)).squeeze(1)  # (B*N, T)
        weights = logits.softmax(-1).unflatten(0, features.shape[:2])
        segments = torch.einsum("bnt,bntd->bnd", weights, features)
        return segments, weights


def temporal_attention_regularization(weights: Tensor, relevant: Tensor) -> Tensor:
    """Return the mean square of the attention spent on frames judged false (Eq 12-13).

    It is per video (1/M) * sum of beta^2 over the frames judged false, M their number; 0 where
    M = 0 (reading).

    Args:
        weights: beta (B, N, T).
        relevant: bool (B, N, T), True where the frame classifier of the video's class says true.

    Returns:
        Scalar: the mean over the B videos.
    """
    judged_false = (~relevant).to(weights.dtype)
    squares = (weights.square() * judged_false).sum((1, 2))
    number = judged_false.sum((1, 2)).clamp(min=1)
    return (squares / number).mean()
