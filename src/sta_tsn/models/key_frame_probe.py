"""beta on frozen features: the paper's key frames exploration behind any encoder."""

from torch import Tensor, nn

from sta_tsn.models.temporal_attention import KeyFrameAttention
from sta_tsn.models.tsn import ActionOutput


class KeyFrameProbe(nn.Module):
    """Weight the frames of each segment by STA-TSN's LSTM, and take the average consensus.

    That is stage two of STA-TSN (Eq 8-11) without a stage one: the fully connected layer starts
    from nothing, and l_MSE is left out, for nobody has judged the frames.

    Args:
        feature_dim: D.
        num_classes: K.
        hidden_dim: of the LSTM.

    Example:
        >>> import torch
        >>> probe = KeyFrameProbe(16, 5, 8)
        >>> output = probe(probe.prepare(torch.rand(2, 3, 10, 16)))
        >>> output.scores.shape, output.temporal_weights.shape
        (torch.Size([2, 5]), torch.Size([2, 3, 10]))
    """

    def __init__(self, feature_dim: int, num_classes: int, hidden_dim: int = 64):
        super().__init__()
        self.attention = KeyFrameAttention(feature_dim, hidden_dim)
        self.head = nn.Linear(feature_dim, num_classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    @staticmethod
    def prepare(features: Tensor) -> Tensor:
        """Return features (B, N, T, D) as they are."""
        return features

    def forward(self, features: Tensor) -> ActionOutput:
        segments, beta = self.attention(features)  # (B, N, D), (B, N, T)
        return ActionOutput(self.head(segments).mean(1), temporal_weights=beta)
