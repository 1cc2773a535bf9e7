"""From a dataset's split to batches of uint8 clips; everything after this runs on the device."""

from collections.abc import Iterator
from math import ceil
from typing import Literal

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from sta_tsn.datasets import (
    Manifest,
    VideoDataset,
    VideoRecord,
    VideoSplit,
    build_manifest,
    open_split,
    read_manifest,
)
from sta_tsn.errors import ConfigError, UserError
from sta_tsn.lightning import LightningDataModule, Trainer
from sta_tsn.video.clips import ClipDataset, Crop, ViewStream
from sta_tsn.video.crops import FLOW_SCALES, RGB_SCALES, TSN_FRAME
from sta_tsn.video.flow.flow_store import FLOW_STACK, FlowStore, differing
from sta_tsn.video.sampling import SegmentSampler
from sta_tsn.video.workers import ReadingNow, workers_with_room

NOTABLE_CHANGE = 1.1  # of proportions; nobody sees less


class SeededSampler(Sampler[tuple[int, int]]):
    """Yield (index, seed), which depend on the seed and the epoch alone.

    So a resumed epoch is the same one.

    Args:
        size: number of items.
        seed: of order and item seeds.
        num_draws: length of a training epoch in items, drawn as one random order of all items after
            another, the same number for every process. None: every item once, in order, dealt out
            without repeats (but a process for which nothing is left repeats one: Lightning hangs
            where only some processes have batches).
        rank: this process among those that share the work, from 0.
        world_size: how many share it.
        epoch: the first one. Lightning calls `set_epoch`, but for a resumed run only after its
            workers were sent the first batches.
    """

    def __init__(
        self,
        size: int,
        seed: int,
        num_draws: int | None,
        rank: int = 0,
        world_size: int = 1,
        epoch: int = 0,
    ):
        self.size = size
        self.seed = seed
        self.num_draws = num_draws
        self.rank = rank
        self.world_size = world_size
        self.epoch = epoch

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def _indices(self) -> list[int]:
        """Return what this process sees of the epoch, in order."""
        if self.num_draws is None:
            everyone = max(self.size, self.world_size) if self.size else 0
            own = range(self.rank, everyone, self.world_size)
            return [index % self.size for index in own]
        generator = np.random.default_rng((self.seed, self.epoch))
        total = len(self) * self.world_size
        orders = []
        for _ in range(ceil(total / self.size)):
            orders.append(generator.permutation(self.size))
        drawn = np.concatenate(orders)[:total]
        own = drawn[self.rank :: self.world_size]
        return own.tolist()

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield index and seed of each video, the same on any number of devices."""
        for turn, index in enumerate(self._indices()):
            place = turn * self.world_size + self.rank  # the same on any number of devices
            entropy = np.random.SeedSequence((self.seed, self.epoch, index, place))
            yield index, int(entropy.generate_state(1)[0])

    def __len__(self) -> int:
        if self.num_draws is None:
            return len(self._indices())
        return ceil(self.num_draws / self.world_size)


class VideoDataModule(LightningDataModule):
    """Give clips for stage one.

    Rows of the paper's Table 2 differ in `num_segments` (1, or 3 for "+TSN").

    Args:
        dataset: where videos, labels and splits come from.
        manifest: CSV file of frame counts, made when missing.
        split: official split, 1-based.
        num_segments: snippets of one training video, one random frame each (SMNet: 8 or 16).
        batch_size: videos per step, over all devices together.
        videos_per_pass: that a device holds at one time; a step is then made of as many passes as
            it takes. None: all of its share.
        test_segments: segments of a video in testing and validation.
        test_frames_per_segment: frames of each of them in testing (the paper's 10).
        val_frames_per_segment: the same in validation; fewer, to save time. Centre crop.
        train_crop: of the training videos in features for stage two: `center`, or `ten`, of which
            every draw of a video gets one at random (ten times the extraction).
        val_share: share of the training clips held out, by group, to choose settings, where the
            dataset has no validation list of its own.
        allow_missing: go on without videos that are absent.
        flow: folder of the flow store; the clips are then stacks of ten flows. None: RGB.
        pair_distance: RGB frames come in pairs, so many frames apart (STIN); 0: alone. Without
            meaning for flow.
        mirror: whether mirrored clips are learned from and tested. Without them, where left and
            right tell classes apart, a test video has five crops.
        keep_proportions: frames are resized to 256 px on their short side; False: to TSN's 340x256,
            whatever their proportions, as the papers' numbers were made. Without meaning for flow,
            which is stored in 340x256.
        scales: of the corner crop, relative to the short side; None: TSN's for the modality.
        num_workers: processes that decode, per device.
        seed: of order, frames and crops.

    Raises:
        ConfigError: a number of videos or of frames that is none.
    """

    def __init__(
        self,
        dataset: VideoDataset,
        manifest: str,
        split: int = 1,
        num_segments: int = 3,
        batch_size: int = 128,
        videos_per_pass: int | None = None,
        test_segments: int = 3,
        test_frames_per_segment: int = 10,
        val_frames_per_segment: int = 3,
        train_crop: Literal["center", "ten"] = "center",
        val_share: float = 0.1,
        allow_missing: bool = False,
        flow: str | None = None,
        pair_distance: int = 0,
        mirror: bool = True,
        keep_proportions: bool = False,
        scales: tuple[float, ...] | None = None,
        num_workers: int = 2,
        seed: int = 0,
    ):
        super().__init__()
        for name, value in (("batch_size", batch_size), ("videos_per_pass", videos_per_pass)):
            if value is not None and value < 1:
                raise ConfigError(f"data.{name}={value}: a number of videos, at least 1.")
        if pair_distance < 0:
            raise ConfigError(
                f"data.pair_distance={pair_distance}: frames from one to the other, at least 0."
            )
        self.dataset = dataset
        self.manifest = manifest
        self.split = split
        self.num_segments = num_segments
        self.batch_size = batch_size
        self.videos_per_pass = videos_per_pass
        self.test_segments = test_segments
        self.test_frames_per_segment = test_frames_per_segment
        self.val_frames_per_segment = val_frames_per_segment
        self.train_crop = train_crop
        self.val_share = val_share
        self.allow_missing = allow_missing
        self.flow = FlowStore(flow) if flow else None
        self.pair_distance = 0 if flow else pair_distance
        self.mirror = mirror
        self.keep_proportions = keep_proportions and not flow
        self.scales = scales or (FLOW_SCALES if flow else RGB_SCALES)
        self.num_workers = num_workers
        self.seed = seed
        self.videos: VideoSplit | None = None
        self.flow_settings: dict = {}  # what made the flow, known after `setup`
        self.reading: list[tuple[ReadingNow, list]] = []  # of each loader, with its files
        self._said: set[str] = set()

    @property
    def classes(self) -> list[str]:
        return self.dataset.classes

    @property
    def train_ids(self) -> list[str]:
        """Return the names of the training videos, in the order of a batch's indices."""
        return [record.id for record in self.videos.train]

    def prepare_data(self) -> None:
        build_manifest(self.dataset.records(self.split).videos, self.manifest)

    def setup(self, stage: str | None = None) -> None:
        if self.videos is None:
            self.videos = open_split(
                self.dataset,
                self.split,
                read_manifest(self.manifest),  # counted before, by one process for all
                val_share=self.val_share,
                allow_missing=self.allow_missing,
                moving=self.flow is not None,
                say=self._say,
            )
            if self.flow:
                everything = [*self.videos.train, *self.videos.val, *self.videos.test]
                self.flow_settings = self.flow.check(everything)
            if not self.keep_proportions:
                self._say_squashed()

    def state_dict(self) -> dict:
        """Return what a checkpoint keeps of the data: how test videos are shown, for `predict`."""
        state: dict = {"frames": [self.test_segments, self.test_frames_per_segment]}
        if self.flow:
            state["flow"] = self.flow_settings
        if not self.mirror:
            state["mirror"] = False
        if self.keep_proportions:
            state["keep_proportions"] = True
        return state

    def load_state_dict(self, state_dict: dict) -> None:
        """Check that the checkpoint's network learned from flow like this.

        Raises:
            UserError: its flow was made otherwise.
        """
        learned_from = state_dict.get("flow", self.flow_settings)
        names = differing(learned_from, self.flow_settings)
        if names:
            raise UserError(
                "The network learned from flow of other settings than that in "
                f"{self.flow.root.resolve()} ({names}). Bring the former flow back, or train anew "
                "(another --run_dir)."
            )

    def _say_squashed(self) -> None:
        note = squashed(self.videos, read_manifest(self.manifest))
        if note:
            self._say(note)

    def _say(self, text: str) -> None:
        if self.trainer is None or self.trainer.is_global_zero:
            print(text, flush=True)

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._say(text)

    def train_dataloader(self) -> DataLoader:
        note = uneven_share(self.batch_size, self._world_size)
        if note:
            self._say(note)
        if self.trainer and self.videos_per_pass:
            passes = self.passes_per_step(self._world_size)
            if self.trainer.accumulate_grad_batches not in (1, passes):
                raise ConfigError(
                    "give data.videos_per_pass or trainer.accumulate_grad_batches, not both"
                )
            self.trainer.accumulate_grad_batches = passes
        sampler = self.sampler(self.num_segments, 1, training=True)
        return self.loader(self.videos.train, sampler, "augment", self._pass_size)

    def passes_per_step(self, world_size: int) -> int:
        """Return how many passes of each device make a step (gradient accumulation).

        They are fewer where a step has all videos and those are fewer than `batch_size`.
        """
        own_videos = ceil(len(self.videos.train) / world_size)
        step = min(self._share(world_size), own_videos)
        return ceil(step / self._videos_at_once(world_size))

    @property
    def _world_size(self) -> int:
        return self.trainer.world_size if self.trainer else 1

    def _share(self, world_size: int) -> int:
        """Return the videos in a step of one device."""
        return share_of_device(self.batch_size, world_size)

    @property
    def _pass_size(self) -> int:
        return self._videos_at_once(self._world_size)

    def _videos_at_once(self, world_size: int) -> int:
        """Return the videos in a pass of one device: the most that make a step's passes alike."""
        share = self._share(world_size)
        number = min(share, self.videos_per_pass or share)
        while share % number:
            number -= 1
        return number

    def val_dataloader(self) -> DataLoader:
        sampler = self.sampler(self.test_segments, self.val_frames_per_segment)
        return self.loader(self.videos.val, sampler, "center", self._pass_size)

    def test_dataloader(self) -> DataLoader:
        """Return the test videos as they are tested: all frames, ten crops, a video a batch."""
        sampler = self.sampler(self.test_segments, self.test_frames_per_segment)
        return self.loader(self.videos.test, sampler, "ten", batch_size=1)

    def predict_dataloader(self) -> DataLoader:
        """Return the test videos, see `test_dataloader`; `index` is of `test_videos`."""
        return self.test_dataloader()

    @property
    def test_videos(self) -> list[dict]:
        """Return id, labels and group of each test video, after `setup`."""
        return [record.entry for record in self.videos.test]

    def frames_loader(self, records: list[VideoRecord], crop: Crop) -> DataLoader:
        """Return all test frames (3 x 10) of each video, one view of it a batch: for features."""
        sampler = self.sampler(self.test_segments, self.test_frames_per_segment)
        clips = self.clips(records, sampler, crop)
        return self._loader(clips, self._order(clips), batch_size=1, by_views=True)

    def sampler(
        self, num_segments: int, frames_per_segment: int, training: bool = False
    ) -> SegmentSampler:
        """Return which frames, or stacks of flow, are looked at."""
        stack_length = FLOW_STACK if self.flow else 1 + self.pair_distance
        return SegmentSampler(num_segments, frames_per_segment, training, stack_length)

    def loader(
        self, records: list[VideoRecord], sampler: SegmentSampler, crop: Crop, batch_size: int
    ) -> DataLoader:
        """Return a loader of whole videos.

        Args:
            records: the videos.
            sampler: which frames; its `training` decides on the order.
            crop: which views.
            batch_size: videos of a batch of one device.
        """
        clips = self.clips(records, sampler, crop)
        return self._loader(clips, self._order(clips), batch_size, by_views=False)

    def clips(self, records: list[VideoRecord], sampler: SegmentSampler, crop: Crop) -> ClipDataset:
        """Return videos as the network of the trainer sees them.

        Args:
            records: the videos.
            sampler: which frames.
            crop: which views.
        """
        size_px = self.trainer.lightning_module.model.input_px if self.trainer else 224
        return ClipDataset(
            records,
            len(self.classes),
            sampler,
            crop,
            size_px,
            self.scales,
            self.flow,
            self.pair_distance,
            self.mirror,
            self.keep_proportions,
        )

    def _order(self, clips: ClipDataset) -> SeededSampler:
        num_draws = len(clips) if clips.sampler.training else None
        return dealt_out(self.trainer, len(clips), self.seed, num_draws)

    def _loader(
        self, clips: ClipDataset, order: SeededSampler, batch_size: int, by_views: bool
    ) -> DataLoader:
        num_views = 1 if by_views else clips.num_views
        num_workers = workers_with_room(
            self.num_workers,
            batch_size * num_views * clips.view_bytes,
            self.trainer.num_devices if self.trainer else 1,
            self._say_once,
        )
        clips.reading = ReadingNow(num_workers)
        self.reading.append((clips.reading, [record.path for record in clips.records]))
        return DataLoader(
            ViewStream(clips, order) if by_views else clips,
            batch_size=batch_size,
            sampler=None if by_views else order,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=_one_thread,
        )


def squashed(videos: VideoSplit, manifest: Manifest) -> str:
    """Return a sentence on videos whose proportions TSN's 340x256 changes by a tenth or more."""
    changes = []
    for record in [*videos.train, *videos.val, *videos.test]:
        row = manifest.get(str(record.path.absolute()))
        if row and row.width_px and row.height_px:
            factor = row.width_px / row.height_px * TSN_FRAME.height / TSN_FRAME.width
            changes.append(max(factor, 1 / factor))
    odd = sum(change > NOTABLE_CHANGE for change in changes)
    if not odd:
        return ""
    return (
        f"{odd} of {len(changes)} videos are not 4:3; their frames are pressed into TSN's 340x256, "
        f"by {max(changes):.1f} at most. data.keep_proportions=true keeps their proportions."
    )


def share_of_device(batch_size: int, world_size: int) -> int:
    """Return how many of a step's videos each device takes, at least one."""
    return max(1, batch_size // world_size)


def uneven_share(batch_size: int, world_size: int) -> str:
    """Return a sentence on the number of videos in a step where devices cannot share it evenly."""
    share = share_of_device(batch_size, world_size)
    if share * world_size == batch_size:
        return ""
    return (
        f"data.batch_size={batch_size} cannot be shared evenly by {world_size} devices: a step has "
        f"{share * world_size} videos, {share} on each."
    )


def dealt_out(
    trainer: Trainer | None, size: int, seed: int, num_draws: int | None
) -> SeededSampler:
    """Return this process's share of the items.

    Args:
        trainer: whose processes share them; None: one process has all.
        size: see `SeededSampler`.
        seed: likewise.
        num_draws: likewise.

    Raises:
        ConfigError: Lightning would deal each process's share out once more.
    """
    if trainer is None:
        return SeededSampler(size, seed, num_draws)
    world_size = trainer.world_size
    if world_size > 1 and trainer._accelerator_connector.use_distributed_sampler:
        raise ConfigError(
            f"{world_size} processes share the videos, which the data module deals out itself: "
            "give Trainer(use_distributed_sampler=False)."
        )
    epoch = next_epoch(trainer)
    return SeededSampler(size, seed, num_draws, trainer.global_rank, world_size, epoch)


def next_epoch(trainer: Trainer) -> int:
    """Return the epoch that training begins with.

    `current_epoch` lags behind in a run resumed from an epoch's end.
    """
    return trainer.fit_loop.epoch_progress.current.processed


def _one_thread(worker_id: int) -> None:
    cv2.setNumThreads(0)  # the workers are the parallelism
