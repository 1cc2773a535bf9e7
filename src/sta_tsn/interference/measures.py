"""Whether a row's weights find the clip's frames, beside what chance finds."""

from typing import NamedTuple

import torch
from torch import Tensor


class Recall(NamedTuple):
    """Hold the share of the key frames found in each video with both kinds, and chance's."""

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
    """Return the recall of frames (M', F) of which some are key frames and some are not."""
    mixed = key_frames.any(1) & ~key_frames.all(1)
    weights = weights[mixed]
    key_frames = key_frames[mixed]
    # Shuffled first, so that of equal weights any may come first.
    generator = torch.Generator().manual_seed(0)
    shuffled = torch.rand(weights.shape, generator=generator).argsort(1)
    weights = weights.gather(1, shuffled)
    key_frames = key_frames.gather(1, shuffled)
    order = weights.argsort(dim=1, descending=True, stable=True)
    is_key = key_frames.gather(1, order)
    num_key = key_frames.sum(1)
    ranks = torch.arange(weights.shape[1])
    is_first = ranks < num_key[:, None]
    num_found = (is_key & is_first).sum(1)
    return Recall(found=num_found / num_key, chance=num_key / weights.shape[1])
