"""Attentive pooling of frozen features, V-JEPA's probe: one learned query, cross-attention."""

import torch
from torch import Tensor, nn

from sta_tsn.models.tsn import ActionOutput


class AttentiveProbe(nn.Module):
    """One query attends to all frames of a video; the attended values are classified.

        a_h = softmax over the M = N T frames of  q_h . K_h x_m / sqrt(d)
        y_h = V_h (sum over m of a_h,m x_m),  scores = FC([y_1, ..., y_A])

    This is the cross-attention of V-JEPA's attentive probe (Bardes et al., "Revisiting Feature
    Prediction for Learning Visual Representations from Video", 2024), whose query is a parameter,
    without the residual and the MLP behind it (reading: few videos). Because there is one query,
    K_h is folded into it and V_h is applied after the sum: the same function, without a key and a
    value for every frame. Tokens are standardised before (see `HeadGrid`), which takes the
    place of the LayerNorm.

    With positions a learned vector for every place in the video is added to its token.

    Args:
        feature_dim: D.
        num_classes: K.
        num_frames: M = N T, for the positions; None: blind to the order of frames.
        num_heads: A.
        width: A d, of queries, keys and values together.

    Raises:
        ValueError: the width is no multiple of the heads.

    Example:
        >>> probe = AttentiveProbe(16, 5, num_frames=30, num_heads=2, width=8)
        >>> output = probe(probe.prepare(torch.rand(2, 3, 10, 16)))
        >>> output.scores.shape, output.temporal_weights.shape
        (torch.Size([2, 5]), torch.Size([2, 3, 10]))
    """

    def __init__(
        self,
        feature_dim: int,
        num_classes: int,
        num_frames: int | None = None,
        num_heads: int = 4,
        width: int = 64,
    ):
        super().__init__()
        if width % num_heads:
            raise ValueError(f"width={width} is no multiple of num_heads={num_heads}")
        self.num_heads = num_heads
        self.query = nn.Parameter(0.02 * torch.randn(num_heads, width // num_heads))
        self.keys = nn.Linear(feature_dim, width, bias=False)
        self.values = nn.Linear(feature_dim, width)
        self.head = nn.Linear(width, num_classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.positions = None
        if num_frames is not None:
            self.positions = nn.Parameter(torch.zeros(num_frames, feature_dim))

    @staticmethod
    def prepare(features: Tensor) -> Tensor:
        """Return features (B, N, T, D) as they are."""
        return features

    def forward(self, features: Tensor, places: Tensor | None = None) -> ActionOutput:
        """Return scores (B, K) and the heads' mean attention (B, N, T), which sums to 1.

        Args:
            features: (B, N, T, D).
            places: (B, N, T) of the frames in the video, from 0; in order where None.
        """
        own = {name: parameter[None] for name, parameter in self.named_parameters()}
        scores, weights = self._attend(own, features.flatten(1, 2), places)
        beta = weights.mean(1).unflatten(1, features.shape[1:3])
        return ActionOutput(scores[0], temporal_weights=beta)

    def scores_of_stack(self, parameters: dict[str, Tensor], features: Tensor) -> Tensor:
        """Return the scores (G, B, K) of G probes, whose parameters are stacked (G, ...).

        Args:
            parameters: by the names that they have in one probe.
            features: (B, N, T, D), which all of them see.
        """
        return self._attend(parameters, features.flatten(1, 2), None)[0]

    def _attend(
        self, parameters: dict[str, Tensor], tokens: Tensor, places: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return scores (G, B, K) and attention (B, G A, M) of tokens (B, M, D).

        The G probes' heads stand side by side in one matrix: tokens are not copied for each.
        """
        query = parameters["query"]  # (G, A, d)
        num_probes, num_heads, width = query.shape
        keys = parameters["keys.weight"].unflatten(1, (num_heads, width))
        asked = torch.einsum("gad,gadf->gaf", query, keys) * width**-0.5
        asked = asked.flatten(0, 1)  # (G A, D)
        logits = (tokens @ asked.T).transpose(1, 2)  # (B, G A, M)
        positions = None
        if self.positions is not None:
            positions = parameters["positions"][:, : tokens.shape[1]]  # (G, M, D)
            if places is not None:  # of one probe
                positions = parameters["positions"][0, places.flatten(1)]  # (B, M, D)
            logits = logits + self._told_by_positions(positions, asked, places)
        weights = logits.softmax(-1)
        summed = (weights @ tokens).unflatten(1, (num_probes, num_heads))  # (B, G, A, D)
        if positions is not None:
            grouped = weights.unflatten(1, (num_probes, num_heads))
            of = "bgam,gmf->bgaf" if places is None else "bgam,bmf->bgaf"
            summed = summed + torch.einsum(of, grouped, positions)
        values = parameters["values.weight"].unflatten(1, (num_heads, width)).flatten(0, 1)
        attended = torch.bmm(summed.flatten(1, 2).transpose(0, 1), values.transpose(1, 2))
        attended = attended.unflatten(0, (num_probes, num_heads)).permute(0, 2, 1, 3).flatten(2)
        attended = attended + parameters["values.bias"][:, None]  # (G, B, A d)
        bias = parameters["head.bias"][:, None]
        scores = torch.baddbmm(bias, attended, parameters["head.weight"].transpose(1, 2))
        return scores, weights

    def _told_by_positions(self, positions: Tensor, asked: Tensor, places: Tensor | None) -> Tensor:
        """Return what positions add to the logits, (1 or B, G A, M)."""
        if places is not None:
            return (positions @ asked.T).transpose(1, 2)
        num_probes = len(positions)
        of_probes = torch.bmm(asked.unflatten(0, (num_probes, -1)), positions.transpose(1, 2))
        return of_probes.flatten(0, 1).unsqueeze(0)
