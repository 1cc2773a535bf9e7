"""STA-TSN assembled (Fig 1): frames, spatial attention, key frames of each segment, consensus."""

from torch import Tensor, nn

from sta_tsn.models.temporal_attention import KeyFrameAttention
from sta_tsn.models.tsn import TSN, ActionOutput


class STATSN(nn.Module):
    """Score a video as a TSN with spatial attention does, each segment summed up by its key frames.

        scores = mean over n of FC(F_n)     average consensus before the softmax

    Reading: the fully connected layer is stage one's, trained further. Features and classes are the
    same, so stage two starts near the SA+TSN network that it extends, whichever way beta points at
    first.

    Args:
        num_classes: K.
        hidden_dim: of the LSTM.
        dropout: before the fully connected layer.
        backbone: of the stage-one `TSN`, see there, as the following ones.
        weights: likewise.
        spatial_attention: likewise.
        pool_sizes: likewise.
        focus: likewise.
        pool_mode: likewise.
        num_channels: likewise.

    Example:
        >>> import torch
        >>> output = STATSN(5, 64, backbone="resnet18")(torch.rand(2, 3, 10, 3, 224, 224))
        >>> output.scores.shape, output.spatial_weights.shape, output.temporal_weights.shape
        (torch.Size([2, 5]), torch.Size([2, 3, 10, 7, 7]), torch.Size([2, 3, 10]))
    """

    def __init__(
        self,
        num_classes: int,
        hidden_dim: int = 2048,
        dropout: float = 0.8,
        backbone: str | dict = "resnet152",
        weights: str = "none",
        spatial_attention: bool = True,
        pool_sizes: tuple[int, ...] = (1, 3, 5, 7),
        focus: str = "elementwise",
        pool_mode: str = "stride1_max",
        num_channels: int = 3,
    ):
        super().__init__()
        stage_one = TSN(
            num_classes,
            backbone,
            weights,
            spatial_attention,
            pool_sizes,
            focus,
            pool_mode,
            dropout,
            num_channels,
        )
        self.encoder = stage_one.encoder
        self.head = stage_one.head
        self.dropout = stage_one.dropout
        self.attention = KeyFrameAttention(self.encoder.feature_dim, hidden_dim)
        self.settings = {**stage_one.settings, "hidden_dim": hidden_dim}

    @property
    def input_px(self) -> int:
        return self.encoder.cnn.input_px

    def classify(self, features: Tensor) -> ActionOutput:
        """Return scores (B, K) and beta (B, N, T) of features (B, N, T, D)."""
        segments, temporal_weights = self.attention(features)  # (B, N, D)
        scores = self.head(self.dropout(segments)).mean(1)
        return ActionOutput(scores, temporal_weights=temporal_weights)

    def forward(self, clips: Tensor) -> ActionOutput:  # (B, N, T, C, S, S)
        features, spatial_weights = self.encoder(clips)
        return self.classify(features)._replace(spatial_weights=spatial_weights)
