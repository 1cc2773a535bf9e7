"""STIN (Signal, Image and Video Processing 2023, 17:1173): each stream learns a second task.

The spatial stream has to tell actions by the difference of two frames alone, the temporal one by
what self-attention finds in the flow. The abstract says so much; layers and widths are a reading.
The suite fuses all models' streams 1 to 1; `evaluation.fuse` takes TSN's weights, 1 to 1.5.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sta_tsn.models.map_backbone import build_backbone
from sta_tsn.models.tsn import FrameConsensus, FrameEncoder, class_scores


class ApparentDifference(nn.Module):
    """See what changes between the frames t and t+d.

        Delta = phi(A_{t+d}) - phi(A_t),  phi = BN(Conv1x1), C -> C/4
        g     = GAP(ReLU(Conv3x3(Delta)))

    The share of ReLU(Conv3x3(Delta)) at each position stands in for alpha.

    Args:
        in_channels: C.
    """

    def __init__(self, in_channels: int):
        super().__init__()
        self.hidden_dim = max(1, in_channels // 4)
        self.squeeze = nn.Sequential(
            nn.Conv2d(in_channels, self.hidden_dim, 1, bias=False), nn.BatchNorm2d(self.hidden_dim)
        )
        # No bias: no change, no signal.
        self.compare = nn.Conv2d(self.hidden_dim, self.hidden_dim, 3, padding=1, bias=False)

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return [GAP(A_t), g] (M, C + C/4) of maps of pairs (2 M, C, H, W), and where it changes.

        The latter is (M, H, W) and sums to 1.
        """
        appearance = maps[::2].mean((2, 3))
        earlier, later = self.squeeze(maps).unflatten(0, (-1, 2)).unbind(1)
        change = F.relu(self.compare(later - earlier))
        features = torch.cat([appearance, change.mean((2, 3))], 1)
        energy = change.mean(1)
        total = energy.sum((1, 2), keepdim=True)
        shares = energy / total.clamp(min=1e-12)
        uniform = torch.full_like(energy, 1 / energy[0].numel())
        return features, torch.where(total > 0, shares, uniform)


class SelfAttention(nn.Module):
    """Let every position look at all others.

        O  = softmax(q^T k) v,  q, k = Conv1x1 (C -> C/8), v = Conv1x1
        A' = A + gamma O

    gamma starts at 0.

    Args:
        in_channels: C.
    """

    def __init__(self, in_channels: int):
        super().__init__()
        hidden_dim = max(1, in_channels // 8)
        self.query = nn.Conv2d(in_channels, hidden_dim, 1)
        self.key = nn.Conv2d(in_channels, hidden_dim, 1)
        self.value = nn.Conv2d(in_channels, in_channels, 1)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return [GAP(A'), GAP(O)] (M, 2 C) of maps (M, C, H, W), and what is looked at.

        The latter is (M, H, W), by position, and sums to 1.
        """
        query = self.query(maps).flatten(2)
        key = self.key(maps).flatten(2)
        value = self.value(maps).flatten(2)
        weights = (query.transpose(1, 2) @ key).softmax(-1)  # (M, HW queries, HW keys)
        found = (value @ weights.transpose(1, 2)).mean(2)
        enhanced = maps.mean((2, 3)) + self.gamma * found
        features = torch.cat([enhanced, found], 1)
        looked_at = weights.mean(1).unflatten(1, maps.shape[-2:])
        return features, looked_at


class STIN(FrameConsensus):
    """Make one stream: the spatial one of pairs of RGB frames (C = 6), the temporal one of flow.

    Features are [what is classified | what the auxiliary head sees]; in the spatial stream the
    first holds the second.

    Args:
        num_classes: K.
        backbone: see `build_backbone`.
        weights: see `build_backbone`.
        dropout: before the fully connected layers.
        num_channels: of one frame or stack: 3 makes the spatial stream, any other the temporal one.

    Example:
        >>> STIN(5, "resnet18")(torch.rand(2, 3, 1, 6, 224, 224)).scores.shape
        torch.Size([2, 5])
    """

    def __init__(
        self,
        num_classes: int,
        backbone: str | dict = "resnet50",
        weights: str = "none",
        dropout: float = 0.8,
        num_channels: int = 3,
    ):
        cnn = build_backbone(backbone, weights, num_channels)
        if cnn.num_channels == 3:
            injection = ApparentDifference(cnn.num_features)
            classified = cnn.num_features + injection.hidden_dim
            seen = injection.hidden_dim
        else:
            injection = SelfAttention(cnn.num_features)
            classified = cnn.num_features
            seen = cnn.num_features
        super().__init__(FrameEncoder(cnn, injection, classified), num_classes, dropout)
        self.auxiliary_head = class_scores(seen, num_classes)

    def classify(self, features: Tensor):
        """Return the mean of the frames' scores from features (B, N, T, D).

        The auxiliary head has no say.
        """
        return super().classify(features[..., : self.head.in_features])

    def auxiliary_scores(self, features: Tensor) -> Tensor:
        """Return scores (B, K) of what was injected alone, from features (B, N, T, D)."""
        injected = features[..., -self.auxiliary_head.in_features :]
        return self.auxiliary_head(self.dropout(injected)).mean((1, 2))
