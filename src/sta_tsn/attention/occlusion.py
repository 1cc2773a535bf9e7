"""Does a model need the areas it looks at? Test frames with cells covered, scored again."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sta_tsn.attention.explain import center_clips
from sta_tsn.attention.localisation import centre_bias
from sta_tsn.datasets import VideoRecord
from sta_tsn.tasks import TemporalAttentionTSN
from sta_tsn.video import FlowStore

FRAMES_COVERED = 3  # of each segment: every covered frame is a pass of the CNN
SHARE_COVERED = 0.25  # of the cells of alpha


@torch.no_grad()
def covered_scores(
    task: TemporalAttentionTSN,
    record: VideoRecord,
    flow: FlowStore | None,
    generator: np.random.Generator,
) -> dict[str, Tensor]:
    """Scores (K,) of one video's centre crops with nothing covered, and with the most, the least attended, random and middle cells covered.

    Empty where the model has no spatial attention.
    """
    model, clips = task.model, center_clips(task, record, flow).clips
    chosen = (
        torch.linspace(0, clips.shape[2] - 1, min(FRAMES_COVERED, clips.shape[2])).round().long()
    )
    clips = clips[:, :, chosen]  # (1, N, T, C, S, S)
    output = model(clips)
    if output.spatial_weights is None:
        return {}
    random = torch.from_numpy(generator.random(output.spatial_weights.shape))
    middle = -centre_bias(*output.spatial_weights.shape[-2:]).expand_as(output.spatial_weights)
    order = {
        "most": -output.spatial_weights,
        "least": output.spatial_weights,
        "random": random,
        "middle": middle,
    }
    grey = (model.encoder.cnn.mean.flatten() * 255).round().to(clips.dtype)
    return {"none": output.scores[0]} | {
        name: model(cover(clips, first, grey)).scores[0] for name, first in order.items()
    }


def cover(clips: Tensor, order: Tensor, grey: Tensor) -> Tensor:
    """Clips (..., C, S, S) whose first quarter of cells by `order` (..., h, w), smallest first, have the colour `grey` (C,)."""
    cells = order.flatten(-2)
    covered = cells.argsort(-1).argsort(-1) < round(SHARE_COVERED * cells.shape[-1])
    mask = covered.view(-1, 1, *order.shape[-2:]).float()
    mask = F.interpolate(mask, clips.shape[-2:], mode="nearest-exact").view(
        *clips.shape[:-3], 1, *clips.shape[-2:]
    )
    return torch.where(mask > 0, grey[:, None, None], clips)
