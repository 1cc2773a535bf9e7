"""Attention held against ground truth: is it on the actor, and on the frames of the action?

F frames, (h, w) attention cells, S x S pixels of a crop, N segments of T frames.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

CENTRE_SIGMA = 0.25  # of the crop's side: the centre-biased baseline is a Gaussian


def centre_bias(height: int, width: int) -> Tensor:
    """Return the baseline that knows only that people film what matters in the middle.

    A Gaussian of shape (h, w) that sums to 1.
    """
    rows = (torch.arange(height) + 0.5) / height - 0.5
    columns = (torch.arange(width) + 0.5) / width - 0.5
    squares = rows[:, None] ** 2 + columns[None] ** 2
    bias = torch.exp(-squares / (2 * CENTRE_SIGMA**2))
    return bias / bias.sum()


def spatial_scores(weights: Tensor, masks: Tensor) -> dict[str, np.ndarray]:
    """Return pointing game and mass ratio of every frame; NaN where the actor is not shown.

    The pointing game asks whether the middle of the most attended cell is on the actor. The mass
    ratio is the share of attention on the actor over the actor's share of the area (1 = no better
    than uniform). Of equally attended cells each counts its part.

    Args:
        weights: alpha (F, h, w), each sums to 1.
        masks: (F, S, S), each pixel's share on the actor.

    Returns:
        (F,) arrays: `pointing`, `pointing_centre` (points at the crop's middle), `pointing_uniform`
        (expected of a random cell), `peak_at_border` (the most attended cell is one of the
        outermost, which alone see the convolutions' padding), `mass_ratio`, `mass_ratio_centre` (a
        Gaussian in the middle).
    """
    height, width = weights.shape[1:]
    size = (height, width)
    shown = masks[:, None].float()
    cells = F.adaptive_avg_pool2d(shown, size).flatten(1)  # (F, h * w) share on the actor
    middles = F.interpolate(shown, size, mode="nearest-exact").flatten(1) > 0.5
    area = cells.mean(1)
    alpha = weights.flatten(1)
    bias = centre_bias(height, width).flatten()
    top = _chance_in_top(alpha, torch.ones(len(alpha), 1))
    border = torch.ones(height, width)
    border[1:-1, 1:-1] = 0
    # Not a cell's middle: where h is even none lies there.
    centre = masks[:, masks.shape[1] // 2, masks.shape[2] // 2] > 0.5
    found = {
        "pointing": (top * middles).sum(1),
        "pointing_centre": centre.float(),
        "pointing_uniform": middles.float().mean(1),
        "peak_at_border": top @ border.flatten(),
        "mass_ratio": (alpha * cells).sum(1) / area,
        "mass_ratio_centre": (bias * cells).sum(1) / area,
    }
    return {name: value.masked_fill(area == 0, torch.nan).numpy() for name, value in found.items()}


def key_frame_scores(weights: Tensor, key_frames: Tensor) -> dict[str, np.ndarray]:
    """Return the key-frame recall of every segment; NaN unless it holds key frames and others.

    Of a segment's k key frames, the share that is among its k most attended frames; the expectation
    for a random order is k / T.

    Args:
        weights: beta (N, T).
        key_frames: bool (N, T).

    Returns:
        (N,) arrays `recall` and `recall_uniform`.
    """
    num_key = key_frames.sum(1)
    mixed = (num_key > 0) & (num_key < weights.shape[1])
    hits = (key_frames * _chance_in_top(weights, num_key[:, None])).sum(1)
    found = {"recall": hits / num_key.clamp(min=1), "recall_uniform": num_key / weights.shape[1]}
    for name, value in found.items():
        found[name] = value.float().masked_fill(~mixed, torch.nan).numpy()
    return found


def _chance_in_top(weights: Tensor, number: Tensor) -> Tensor:
    """Return each weight's probability to be among its row's largest, equal ones drawn at random.

    Attention that knows nothing is uniform and is stored in halves: the first of equals would make
    it look at a corner.

    Args:
        weights: (R, n).
        number: (R, 1), how many are the largest.
    """
    larger = (weights[:, None] > weights[:, :, None]).sum(2)
    equal = (weights[:, None] == weights[:, :, None]).sum(2)
    return ((number - larger) / equal).clamp(0, 1)
