"""Whether a row's weights find the clip's frames, beside what chance finds."""

from typing import NamedTuple

import torch
from torch import Tensor


class Recall(NamedTuple):
    """Share of the key frames found in each video of both kinds of frames, and chance's."""

    found: Tensor
    chance: Tensor


def recall_in_videos(weights: Tensor, key_frames: Tensor) -> Recall:
    """Return which share of a video's k key frames is among its k frames of most weight.

    Args:
        weights: (V, N, T), of the frames of a video beside one another.
        key_frames: bool (V, N, T).

    Returns:
        found and chance (M,) of the M videos that hold key frames and others.
    """
    return _recall(weights.flatten(1), key_frames.flatten(1))


def recall_in_segments(weights: Tensor, key_frames: Tensor) -> Recall:
    """Return the same of single segments: how beta, a softmax in each of them, is trained."""
    return _recall(weights.flatten(0, 1), key_frames.flatten(0, 1))


def _recall(weights: Tensor, key_frames: Tensor) -> Recall:
    mixed = key_frames.any(1) & ~key_frames.all(1)
    weights = weights[mixed]
    key_frames = key_frames[mixed]
    generator = torch.Generator().manual_seed(0)
    shuffled = torch.rand(weights.shape, generator=generator).argsort(1)  # of equal weights: any
    order = weights.gather(1, shuffled).argsort(dim=1, descending=True, stable=True)
    is_key = key_frames.gather(1, shuffled).gather(1, order)
    counts = key_frames.sum(1, keepdim=True)
    first_ranks = torch.arange(weights.shape[1]) < counts
    found = (is_key & first_ranks).sum(1) / counts.squeeze(1)
    chance = counts.squeeze(1) / weights.shape[1]
    return Recall(found, chance)
