"""Whether a row's weights find the clip's frames, beside what chance finds."""

from typing import NamedTuple

import torch
from torch import Tensor


class Recall(NamedTuple):
    """Hold the share of the key frames found in each video with both kinds, and chance's."""

    found: Tensor
    chance: Tensor


class FoundFrames(NamedTuple):
    """Count, in M videos or segments with both kinds, the key frames that weights find.

    Args:
        num_found: (M,), of the k key frames those among the k frames of most weight.
        num_key: (M,), k.
        num_frames: of each of them, key frames and others.
    """

    num_found: Tensor
    num_key: Tensor
    num_frames: int

    @property
    def recall(self) -> Recall:
        """Return both shares (M,)."""
        return Recall(self.num_found / self.num_key, self.num_key / self.num_frames)


def found_in_videos(weights: Tensor, key_frames: Tensor) -> FoundFrames:
    """Count how many of a video's k key frames are among its k frames of most weight.

    Args:
        weights: (V, N, T), of the frames of a video beside one another.
        key_frames: bool (V, N, T).

    Returns:
        Of the M videos that hold key frames and others.
    """
    return _found(weights.flatten(1), key_frames.flatten(1))


def found_in_segments(weights: Tensor, key_frames: Tensor) -> FoundFrames:
    """Return the same of single segments: how beta, a softmax in each of them, is trained."""
    return _found(weights.flatten(0, 1), key_frames.flatten(0, 1))


def _found(weights: Tensor, key_frames: Tensor) -> FoundFrames:
    """Count in frames (M', F) of which some are key frames and some are not."""
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
    return FoundFrames((is_key & is_first).sum(1), num_key, weights.shape[1])
