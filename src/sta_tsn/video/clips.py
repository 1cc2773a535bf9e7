"""One video as a clip: sampled frames or stacks of flow, cropped, with its labels."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch.utils.data import Dataset

from sta_tsn.datasets import VideoRecord
from sta_tsn.video.augment import (
    RGB_SCALES,
    center_crop,
    five_crops,
    ten_crops,
    training_augmentation,
)
from sta_tsn.video.flow.flow_files import read_flow
from sta_tsn.video.flow.flow_store import FlowStore
from sta_tsn.video.reader import VideoReader
from sta_tsn.video.sampling import SegmentSampler

Crop = Literal["augment", "center", "ten"]


class ClipDataset(Dataset):
    """Videos as clips of sampled frames.

    An item is asked for by (index, seed) and holds `clips` uint8 (V, N, T, C, S, S) with V = 10 views for ten
    crops (5 without `mirror`) and 1 otherwise, C = 3 for frames, 6 for pairs of them, 20 for stacks of flow; `labels` float (K,), 1 for
    each of the video's classes; `index` (position in `records`) and `frame_indices` (N, T).

    Args:
        records: videos with their frame counts.
        num_classes: K.
        sampler: which frames.
        crop: `augment` (TSN's random crop and flip), `center` or `ten`.
        size_px: S, the backbone's input size.
        scales: of the augmentation.
        flow: where stacks of ten flows are read from; None for RGB.
        pair_distance: RGB frames come with the one so many frames later, its channels after their own; 0: alone.
        mirror: whether there are mirrored views, in training and among the ten.
        keep_proportions: crops are laid out in frames of the video's own proportions, not in TSN's
            340x256. Without meaning for flow, which is stored in 340x256.
    """

    def __init__(
        self,
        records: list[VideoRecord],
        num_classes: int,
        sampler: SegmentSampler,
        crop: Crop,
        size_px: int,
        scales: tuple[float, ...] = RGB_SCALES,
        flow: FlowStore | None = None,
        pair_distance: int = 0,
        mirror: bool = True,
        keep_proportions: bool = False,
    ):
        self.records, self.num_classes, self.flow, self.pair_distance = (
            records,
            num_classes,
            flow,
            pair_distance,
        )
        self.sampler, self.crop, self.size_px, self.mirror = sampler, crop, size_px, mirror
        self.keep_proportions = keep_proportions and flow is None
        self.augment = training_augmentation(
            size_px, scales, flow is not None, mirror, self.keep_proportions
        )

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, item: tuple[int, int]) -> dict:
        index, seed = item
        record = self.records[index]
        available = (
            record.num_frames if self.flow is None else record.num_frames - 1
        )  # frames, or pairs of them
        frame_indices = self.sampler(available, torch.Generator().manual_seed(seed))
        frames = self._read(record, frame_indices.flatten().tolist())
        views = self._crop(frames, seed)
        clips = torch.from_numpy(np.ascontiguousarray(np.moveaxis(views, -1, 2)))
        clips = clips.unflatten(1, (*frame_indices.shape, -1)).flatten(
            3, 4
        )  # the frames of a pair: on the channels
        labels = multi_hot(record.labels, self.num_classes)
        return {"clips": clips, "labels": labels, "index": index, "frame_indices": frame_indices}

    def _read(self, record: VideoRecord, indices: list[int]) -> np.ndarray:
        if self.flow is None:
            last, offsets = (
                record.num_frames - 1,
                [0, self.pair_distance][: 1 + bool(self.pair_distance)],
            )
            return VideoReader(record.path, record.num_frames).read(
                [min(index + offset, last) for index in indices for offset in offsets]
            )
        return read_flow(self.flow.path(record), indices, self.sampler.stack_length)

    def _crop(self, frames: np.ndarray, seed: int) -> np.ndarray:
        if self.crop == "ten":
            if not self.mirror:
                return five_crops(frames, self.size_px, self.keep_proportions)
            return ten_crops(frames, self.size_px, self.flow is not None, self.keep_proportions)
        if self.crop == "center":
            return center_crop(frames, self.size_px, self.keep_proportions)[None]
        self.augment.set_random_seed(seed)
        return self.augment(images=frames)["images"][None]


def multi_hot(labels: Sequence[int], num_classes: int) -> torch.Tensor:
    """float (K,): 1 at each of `labels`."""
    vector = torch.zeros(num_classes)
    vector[list(labels)] = 1
    return vector
