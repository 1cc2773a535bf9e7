"""`make flow`: TV-L1 flow of every video into the flow store, over all devices, going on where it stopped."""

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import TQDMProgressBar
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.utilities import rank_zero_only
from rich.progress import track
from torch import Tensor
from torch.utils.data import DataLoader

from sta_tsn.datasets import VideoRecord
from sta_tsn.errors import UserError
from sta_tsn.video.augment import FRAME_HEIGHT_PX, FRAME_WIDTH_PX
from sta_tsn.video.flow.flow_files import BOUND_PX, JPEG_QUALITY
from sta_tsn.video.flow.flow_store import FlowStore
from sta_tsn.video.flow.tvl1 import TVL1Settings, tvl1_flow
from sta_tsn.video.reader import VideoReader
from sta_tsn.video.slurm import environment_plugins

PAIRS_AT_ONCE = {
    "cpu": 1,
    "cuda": 64,
}  # by default: one pair stays in a CPU's cache; 64 take about 2 GB of a GPU
PAIRS_WORTH_COMPILING = 1000  # on a CPU, of one process; a tenth of a second is saved on each


@dataclass(frozen=True)
class FlowSettings:
    """How flow is made and stored: TSN's way, frames resized to 340x256 first, +-20 px in 8 bits."""

    width_px: int = FRAME_WIDTH_PX
    height_px: int = FRAME_HEIGHT_PX
    bound_px: float = BOUND_PX
    jpeg_quality: int = JPEG_QUALITY
    tvl1: TVL1Settings = field(default_factory=TVL1Settings)

    def as_dict(self) -> dict:
        return asdict(self)


def extract_all(
    records: list[VideoRecord],
    root: Path,
    devices: str = "auto",
    nodes: int = 1,
    pairs_at_once: int | None = None,
) -> FlowStore:
    """Flow of every record (of two frames or more) into the store at `root`; returns when all processes are done.

    Args:
        devices: as Lightning takes them; `auto` is every GPU, or one process a core where there is none.
        pairs_at_once: of frames that a device works on together, which bounds its memory; None: PAIRS_AT_ONCE.
    """
    say = rank_zero_only(print)  # Lightning starts this program anew for every process
    store = FlowStore(root, FlowSettings().as_dict())
    store.clear_half_written()
    store.check_folders(records)
    todo = [record for record in records if not store.is_current(record)]
    say(
        f"Flow in {root.resolve()}: {len(records) - len(todo)} of {len(records)} videos are done",
        flush=True,
    )
    if todo:
        trainer = flow_trainer(devices, nodes, len(todo))
        processes = nodes * (int(devices) if devices.isdigit() else os.cpu_count() or 1)
        num_pairs = sum(
            record.num_frames for record in records
        )  # of all, so that a stopped command goes on as it began
        compiled = num_pairs > processes * PAIRS_WORTH_COMPILING
        trainer.predict(
            FlowExtraction(store, todo, compiled, pairs_at_once), return_predictions=False
        )
        trainer.strategy.barrier()  # else the first process to finish would end the command
    return store


def flow_trainer(devices: str, nodes: int, num_videos: int) -> Trainer:
    on_gpu = torch.cuda.is_available()
    if devices == "auto":
        devices = str(torch.cuda.device_count() if on_gpu else min(os.cpu_count() or 1, num_videos))
    if not on_gpu:
        torch.set_num_threads(1)  # the processes are the parallelism
    several = devices != "1" or nodes > 1
    accelerator = "cuda" if on_gpu else "cpu"
    return Trainer(
        accelerator=accelerator, devices=int(devices) if devices.isdigit() else devices, num_nodes=nodes,
        plugins=environment_plugins(accelerator, devices, nodes),
        strategy=DDPStrategy(timeout=timedelta(days=7)) if several else "auto",  # the others wait for the longest video
        logger=False, enable_checkpointing=False, use_distributed_sampler=False, callbacks=[TQDMProgressBar()],  # in log files too
    )  # fmt: skip


class FlowExtraction(LightningModule):
    """Give it to `Trainer.predict`: the videos are dealt out over processes, GPUs and machines; nothing is returned.

    Args:
        store: to write to.
        records: videos whose flow is not there yet.
        compiled: whether to compile on a CPU too.
        pairs_at_once: see `extract_all`.
    """

    def __init__(
        self,
        store: FlowStore,
        records: list[VideoRecord],
        compiled: bool,
        pairs_at_once: int | None = None,
    ):
        super().__init__()
        self.store, self.records, self.fused, self.pairs_at_once = (
            store,
            records,
            compiled or None,
            pairs_at_once,
        )
        self.parent = os.getppid()
        self.allow_zero_length_dataloader_with_multiple_devices = (
            True  # fewer videos left than processes
        )

    def predict_dataloader(self) -> DataLoader:
        return DataLoader(
            range(self.trainer.global_rank, len(self.records), self.trainer.world_size),
            batch_size=None,
        )

    def predict_step(self, index: int) -> int:
        if self.local_rank and os.getppid() != self.parent:
            raise UserError(
                "The process that started this one is gone."
            )  # killed; repeated, the command would do the same videos
        record = self.records[index]
        self.store.write(
            record,
            video_flow(VideoReader(record.path), self.device, self.fused, self.pairs_at_once),
        )
        return index


def video_flow(
    reader: VideoReader,
    device: torch.device,
    fused: bool | None = None,
    pairs_at_once: int | None = None,
) -> Iterator[Tensor]:
    """Flow (2, 256, 340) of each pair of neighbouring frames; `pairs_at_once` + 1 frames are in memory. fused: see `tvl1_flow`."""
    frames = (torch.from_numpy(grey(frame)) for frame in reader.frames())
    chunk = list(islice(frames, 1))
    while True:
        chunk = [*chunk[-1:], *islice(frames, pairs_at_once or PAIRS_AT_ONCE[device.type])]
        if len(chunk) < 2:
            return
        images = torch.stack(chunk).to(device).float()
        yield from tvl1_flow(images[:-1], images[1:], fused)


def flow_of_pairs(reader: VideoReader, pairs: set[int], device: torch.device) -> Iterator[Tensor]:
    """As `video_flow`, computed for `pairs` alone, which are counted from 0: zeros (2, 256, 340) stand for the others."""
    seen = {
        number: grey(frame)
        for number, frame in enumerate(reader.frames())
        if number in pairs or number - 1 in pairs
    }
    flows, wanted, at_once = {}, sorted(pairs), PAIRS_AT_ONCE[device.type]
    for start in track(range(0, len(wanted), at_once), "Computing optical flow"):
        chunk = wanted[start : start + at_once]
        images = (
            torch.from_numpy(np.stack([seen[number + step] for number in chunk])).to(device).float()
            for step in (0, 1)
        )
        flows |= zip(chunk, tvl1_flow(*images).cpu(), strict=True)
    still = torch.zeros(2, FRAME_HEIGHT_PX, FRAME_WIDTH_PX)
    return (flows.get(number, still) for number in range(len(reader) - 1))


def grey(frame: np.ndarray) -> np.ndarray:
    """uint8 RGB of any size -> uint8 (256, 340)."""
    return cv2.resize(
        cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY),
        (FRAME_WIDTH_PX, FRAME_HEIGHT_PX),
        interpolation=cv2.INTER_AREA,
    )
