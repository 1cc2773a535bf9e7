"""A frozen encoder of frames and the head that was chosen behind it, as one network."""

from torch import Tensor, nn

from sta_tsn.models.map_backbone import Backbone
from sta_tsn.models.tsn import ActionOutput, FrameEncoder


class MapEncoder(FrameEncoder):
    """Encode frames (..., C, S, S) as their maps (..., H, W, D), for heads that attend to them."""

    def __init__(self, cnn: Backbone):
        super().__init__(cnn)

    def _encode(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        return self._maps(images).permute(0, 2, 3, 1), None


class ProbedNetwork(nn.Module):
    """Score videos by a head of a grid on what a frozen encoder says of their frames.

    Args:
        encoder: turns clips (B, N, T, C, S, S) into what the heads see.
        heads: a `HeadGrid` or `NeighbourGrid`, of which the chosen one answers.
    """

    def __init__(self, encoder: FrameEncoder, heads: nn.Module):
        super().__init__()
        self.encoder = encoder
        self.heads = heads

    @property
    def input_px(self) -> int:
        return self.encoder.cnn.input_px

    def classify(self, features: Tensor) -> ActionOutput:
        """Return scores (B, K), and alpha and beta where the head has them."""
        return self.heads.classify(features)

    def forward(self, clips: Tensor) -> ActionOutput:  # (B, N, T, C, S, S)
        features, _ = self.encoder(clips)
        return self.classify(features)
