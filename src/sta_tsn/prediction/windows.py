"""A long video as windows that slide over it, decoded once with a bounded number of frames kept."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sta_tsn.prediction.checkpoints import Stream
from sta_tsn.video import SegmentSampler, VideoReader, center_crop, ten_crops
from sta_tsn.video.crops import five_crops


class Window(NamedTuple):
    """Frames `start` to `end` - 1."""

    start: int
    end: int


class _Sampled(NamedTuple):
    """A window, and frame indices (N, T, pair) that a network looks at in it."""

    window: Window
    indices: Tensor


def window_frames(
    num_frames: int, fps: float, window_sec: float, stride_sec: float
) -> list[Window]:
    """Return the windows of a video, in order. The last one ends with the video."""
    length = min(num_frames, max(1, round(window_sec * fps)))
    windows = []
    number = 0
    while round(number * stride_sec * fps) + length <= num_frames:
        start = round(number * stride_sec * fps)
        windows.append(Window(start, start + length))
        number += 1
    if windows[-1].end < num_frames:
        windows.append(Window(num_frames - length, num_frames))
    return windows


def clips_of_windows(
    reader: VideoReader,
    windows: Iterable[Window],
    sampler: SegmentSampler,
    stream: Stream,
    ten: bool,
) -> Iterator[tuple[Window, Tensor]]:
    """Yield each window with its views, uint8 (V, N, T, C, S, S).

    Only crops are kept, each until the last window that looks at its frame is done.
    """
    waiting = deque(_sampled(window, sampler, stream.pair_distance) for window in windows)
    looked_at: set[int] = set()
    for _, indices in waiting:
        looked_at.update(indices.flatten().tolist())
    kept: dict[int, np.ndarray] = {}
    for number, frame in reader.chosen(looked_at):
        kept[number] = _views(frame, stream, ten)
        while waiting and number == int(waiting[0].indices.max()):
            window, indices = waiting.popleft()
            yield window, _assembled(kept, indices)
            first = int(waiting[0].indices.min()) if waiting else number + 1
            kept = {index: views for index, views in kept.items() if index >= first}


def _sampled(window: Window, sampler: SegmentSampler, pair_distance: int) -> _Sampled:
    """Return the frames (N, T, 1) of a window that are looked at, or pairs of them (N, T, 2)."""
    num_frames = window.end - window.start
    indices = sampler(num_frames) + window.start
    if not pair_distance:
        return _Sampled(window, indices[..., None])
    later = (indices + pair_distance).clamp(max=window.end - 1)
    return _Sampled(window, torch.stack([indices, later], -1))


def _views(frame: np.ndarray, stream: Stream, ten: bool) -> np.ndarray:
    """Return the crops of one frame, uint8 (V, S, S, 3)."""
    size_px = stream.task.model.input_px
    kept = stream.task.keeps_proportions
    if not ten:
        return center_crop(frame[None], size_px, kept)
    if stream.mirror:
        return ten_crops(frame[None], size_px, keep_proportions=kept)[:, 0]
    return five_crops(frame[None], size_px, kept)[:, 0]


def _assembled(kept: dict[int, np.ndarray], indices: Tensor) -> Tensor:
    """Return views (V, N, T, C, S, S) of frames (N, T, pair), pairs on the channels."""
    frames = []
    for index in indices.flatten().tolist():
        frames.append(kept[index])
    pixels = torch.from_numpy(np.stack(frames, axis=1))
    views = pixels.permute(0, 1, 4, 2, 3)  # (V, frames, 3, S, S)
    return views.unflatten(1, tuple(indices.shape)).flatten(3, 4)
