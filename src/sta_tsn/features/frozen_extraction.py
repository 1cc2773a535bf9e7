"""Fill a store by a frozen encoder, over all devices and machines, going on where it stopped."""

import math
import os
import shutil
from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sta_tsn.errors import UserError
from sta_tsn.features.frozen_features import FramesOfVideo, FrozenFeatures
from sta_tsn.lightning import LightningModule, rank_zero_only
from sta_tsn.video import VideoReader
from sta_tsn.video.flow.flow_extraction import flow_trainer

BYTES_OF_FP16 = 2


def extract_frozen(
    features: FrozenFeatures,
    videos: Sequence[FramesOfVideo],
    devices: str = "auto",
    nodes: int = 1,
    workers: int = 0,
    listing: dict | None = None,
) -> None:
    """Encode every video that is not encoded yet; return when all processes are done.

    Args:
        features: to fill.
        videos: all that the store is to hold.
        devices: as Lightning takes them; `auto` is every GPU, or one process a core without one.
        nodes: machines.
        workers: processes that decode, of each device; 0: the device's own.
        listing: what else `store.json` is to say, see `FrozenFeatures.open`.

    Raises:
        UserError: the disk is too small, or as `FrozenFeatures.open` and `write`.
    """
    say = rank_zero_only(print)  # Lightning starts this program anew for every process
    if rank_zero_only.rank == 0:
        features.open(listing)
    todo = features.missing(videos)
    done = len(videos) - len(todo)
    say(f"Features in {features.folder.resolve()}: {done} of {len(videos)} videos are done")
    if not todo:
        return
    say(_size_sentence(features, todo), flush=True)
    trainer = flow_trainer(devices, nodes, len(todo))
    trainer.predict(_Extraction(features, todo, workers), return_predictions=False)
    trainer.strategy.barrier()  # else the first process to finish would end the command


def _size_sentence(features: FrozenFeatures, todo: Sequence[FramesOfVideo]) -> str:
    """Return what will be stored, in words.

    Raises:
        UserError: it does not fit on the disk.
    """
    shapes = features.encoder.entry_shapes(features.kept)
    of_frame = sum(math.prod(shape) for shape in shapes.values()) * BYTES_OF_FP16
    num_frames = sum(len(video.indices) for video in todo)
    needed = of_frame * num_frames * features.crops // features.encoder.frames_per_entry
    free = shutil.disk_usage(features.folder).free
    each = " and ".join(f"{name} {' x '.join(map(str, shape))}" for name, shape in shapes.items())
    sentence = (
        f"{len(todo)} videos, {num_frames} frames, {features.crops} crop(s): {each} of each in "
        f"fp16, {_in_gb(needed)} in all; {_in_gb(free)} are free."
    )
    if needed > free:
        raise UserError(
            f"{features.folder.resolve()}: {sentence} Keep less of each frame (pooled features), "
            "one crop, or write to another disk."
        )
    return sentence


def _in_gb(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.2f} GB"


class _Extraction(LightningModule):
    """Give it to `Trainer.predict`: the videos are dealt out over processes, GPUs and machines."""

    def __init__(self, features: FrozenFeatures, todo: Sequence[FramesOfVideo], workers: int):
        super().__init__()
        self.features = features
        self.todo = todo
        self.workers = workers
        self.parent = os.getppid()
        self.allow_zero_length_dataloader_with_multiple_devices = True  # fewer videos than devices

    def on_predict_start(self) -> None:
        self.features.encoder.device = self.device
        self._open = ExitStack()
        self._open.enter_context(self.features.encoder.folded())

    def on_predict_end(self) -> None:
        self._open.close()

    def predict_dataloader(self) -> DataLoader:
        own = range(self.trainer.global_rank, len(self.todo), self.trainer.world_size)
        return DataLoader(_Frames(self.todo, own), batch_size=None, num_workers=self.workers)

    def predict_step(self, batch: tuple[int, Tensor]) -> int:
        if self.local_rank and os.getppid() != self.parent:
            # Killed; repeated, the command would do the same videos.
            raise UserError("The process that started this one is gone.")
        index, frames = batch
        self.features.write(self.todo[index], frames.cpu().numpy())
        return index


class _Frames(Dataset):
    """The positions of some videos, and their frames uint8 (n, H, W, 3)."""

    def __init__(self, videos: Sequence[FramesOfVideo], chosen: Sequence[int]):
        self.videos = videos
        self.chosen = chosen

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, item: int) -> tuple[int, np.ndarray]:
        index = self.chosen[item]
        video = self.videos[index]
        return index, VideoReader(video.path, video.num_frames).read(video.indices)
