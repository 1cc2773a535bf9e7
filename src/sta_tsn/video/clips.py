"""One video as a clip: sampled frames or stacks of flow, cropped, with its labels."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Literal

import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset, Sampler, get_worker_info

from sta_tsn.datasets import VideoRecord
from sta_tsn.video.crops import RGB_SCALES, as_planes, center_crop, each_crop
from sta_tsn.video.flow.flow_files import read_flow
from sta_tsn.video.flow.flow_store import FlowStore
from sta_tsn.video.reader import VideoReader
from sta_tsn.video.sampling import SegmentSampler
from sta_tsn.video.workers import ReadingNow

Crop = Literal["augment", "center", "ten"]


class ClipDataset(Dataset):
    """Give videos as clips of sampled frames.

    An item is asked for by (index, seed) and holds `clips` uint8 (V, N, T, C, S, S) with V = 10
    views for ten crops (5 without `mirror`) and 1 otherwise, C = 3 for frames, 6 for pairs of them,
    20 for stacks of flow; `labels` float (K,), 1 for each of the video's classes; `index` (position
    in `records`) and `frame_indices` (N, T).

    Args:
        records: videos with their frame counts.
        num_classes: K.
        sampler: which frames.
        crop: `augment` (TSN's random crop and flip), `center` or `ten`.
        size_px: S, the backbone's input size.
        scales: of the augmentation.
        flow: where stacks of ten flows are read from; None for RGB.
        pair_distance: RGB frames come with the one so many frames later, its channels after their
            own; 0: alone.
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
        self.records = records
        self.num_classes = num_classes
        self.sampler = sampler
        self.crop = crop
        self.size_px = size_px
        self.flow = flow
        self.pair_distance = pair_distance
        self.mirror = mirror
        self.keep_proportions = keep_proportions and flow is None
        if crop == "augment":
            from sta_tsn.video.augment import training_augmentation

            self.augment = training_augmentation(
                size_px, scales, flow is not None, mirror, self.keep_proportions
            )
        self.reading = ReadingNow(num_workers=0)  # whoever starts workers puts theirs here

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, item: tuple[int, int]) -> dict:
        views = sorted(self.views(item), key=lambda view: view["view"])
        # One view needs no copy.
        clips = views[0]["clips"]
        if len(views) > 1:
            clips = torch.cat([view["clips"] for view in views])
        whole = {**views[0], "clips": clips}
        del whole["view"]
        return whole

    @property
    def num_views(self) -> int:
        """V, the views of each video."""
        if self.crop != "ten":
            return 1
        return 10 if self.mirror else 5

    @property
    def view_bytes(self) -> int:
        """Return the bytes of one view's clip."""
        if self.flow is None:
            channels = 6 if self.pair_distance else 3
        else:
            channels = 2 * self.sampler.stack_length
        frames = self.sampler.num_segments * self.sampler.frames_per_segment
        return frames * channels * self.size_px**2

    def views(self, item: tuple[int, int]) -> Iterator[dict]:
        """Yield the views of one video, each as an item with V = 1 and its number `view`.

        The frames are decoded once, and no more than two views are in memory.

        Args:
            item: index and seed.
        """
        index, seed = item
        self.reading.note(index)
        record = self.records[index]
        # Frames, or pairs of them.
        available = record.num_frames if self.flow is None else record.num_frames - 1
        frame_indices = self.sampler(available, torch.Generator().manual_seed(seed))
        frames = self._read(record, frame_indices.flatten().tolist())
        about = {
            "labels": multi_hot(record.labels, self.num_classes),
            "index": index,
            "frame_indices": frame_indices,
        }
        for number, crop in self._crops(frames, seed):
            pixels = torch.from_numpy(as_planes(crop))
            clip = pixels.unflatten(0, (*frame_indices.shape, -1))
            clip = clip.flatten(2, 3)  # the frames of a pair: on the channels
            yield {"clips": clip[None], "view": number, **about}

    def _read(self, record: VideoRecord, indices: list[int]) -> np.ndarray:
        if self.flow is not None:
            return read_flow(self.flow.path(record), indices, self.sampler.stack_length)
        last = record.num_frames - 1
        wanted = []
        for index in indices:
            wanted.append(min(index, last))
            if self.pair_distance:
                wanted.append(min(index + self.pair_distance, last))
        return VideoReader(record.path, record.num_frames).read(wanted)

    def _crops(self, frames: np.ndarray, seed: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the number and the pixels (n, S, S, C) of each view."""
        if self.crop == "ten":
            is_flow = self.flow is not None
            yield from each_crop(frames, self.size_px, self.mirror, is_flow, self.keep_proportions)
        elif self.crop == "center":
            yield 0, center_crop(frames, self.size_px, self.keep_proportions)
        else:
            self.augment.set_random_seed(seed)
            yield 0, self.augment(images=frames)["images"]


class ViewStream(IterableDataset):
    """Gives every view of every video as an item of its own, a video's one after another.

    Ten crops of 30 stacks of flow are 301 MB, of frames 45; a view is a tenth of it. Each worker
    has videos of its own, so the views of several are mixed: `index` and `view` tell them apart.

    Args:
        clips: the videos.
        sampler: which of them, in what order.
    """

    def __init__(self, clips: ClipDataset, sampler: Sampler[tuple[int, int]]):
        self.clips = clips
        self.sampler = sampler

    def __len__(self) -> int:
        return len(self.sampler) * self.clips.num_views

    def __iter__(self) -> Iterator[dict]:
        worker = get_worker_info()
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        for item in islice(self.sampler, first, None, step):
            yield from self.clips.views(item)


def multi_hot(labels: Sequence[int], num_classes: int) -> torch.Tensor:
    """Return float32 (K,), 1 at each of `labels` and 0 elsewhere."""
    vector = torch.zeros(num_classes)
    vector[list(labels)] = 1
    return vector
