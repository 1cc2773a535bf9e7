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
    """Return the scores (K,) of one video's centre crops by which cells are covered.

    `none`; a quarter of them: the `most` and the `least` attended, `random` and `middle` ones.
    Empty where the model has no spatial attention.
    """
    model = task.model
    clips = center_clips(task, record, flow).clips
    num_frames = clips.shape[2]
    chosen = torch.linspace(0, num_frames - 1, min(FRAMES_COVERED, num_frames)).round().long()
    clips = clips[:, :, chosen]  # (1, N, T, C, S, S)
    output = model(clips)
    alpha = output.spatial_weights
    if alpha is None:
        return {}
    first_covered = {
        "most": -alpha,
        "least": alpha,
        "random": torch.from_numpy(generator.random(alpha.shape)),
        "middle": -centre_bias(*alpha.shape[-2:]).expand_as(alpha),
    }
    grey = (model.encoder.cnn.mean.flatten() * 255).round().to(clips.dtype)
    scores = {"none": output.scores[0]}
    for name, order in first_covered.items():
        scores[name] = model(cover(clips, order, grey)).scores[0]
    return scores


def cover(clips: Tensor, order: Tensor, grey: Tensor) -> Tensor:
    """Return clips of which the first quarter of the cells is painted over.

    Args:
        clips: (..., C, S, S).
        order: (..., h, w); cells with the smallest values are the first.
        grey: the colour (C,).
    """
    cells = order.flatten(-2)
    covered = cells.argsort(-1).argsort(-1) < round(SHARE_COVERED * cells.shape[-1])
    mask = covered.view(-1, 1, *order.shape[-2:]).float()
    mask = F.interpolate(mask, clips.shape[-2:], mode="nearest-exact")
    mask = mask.view(*clips.shape[:-3], 1, *clips.shape[-2:])
    return torch.where(mask > 0, grey[:, None, None], clips)
