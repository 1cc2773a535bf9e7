"""TV-L1 flow of every video into the flow store, over all devices, going on where it stopped."""

import os
from datetime import timedelta
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from sta_tsn.datasets import VideoRecord
from sta_tsn.errors import UserError
from sta_tsn.lightning import DDPStrategy, LightningModule, TQDMProgressBar, Trainer, rank_zero_only
from sta_tsn.video.flow.flow_store import FlowStore
from sta_tsn.video.flow.video_flow import FlowSettings, video_flow
from sta_tsn.video.reader import VideoReader
from sta_tsn.video.slurm import environment_plugins

PAIRS_WORTH_COMPILING = 1000  # on a CPU, of one process; a tenth of a second is saved on each


def extract_all(
    records: list[VideoRecord],
    root: Path,
    devices: str = "auto",
    nodes: int = 1,
    pairs_at_once: int | None = None,
) -> FlowStore:
    """Make the flow of every record into the store at `root`; return when all processes are done.

    Args:
        records: videos of two frames or more.
        root: folder of the store.
        devices: as Lightning takes them; `auto` is every GPU, or one process a core where there is
            none.
        nodes: machines.
        pairs_at_once: of frames that a device works on together, which bounds its memory; None:
            PAIRS_AT_ONCE.
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
        per_node = int(devices) if devices.isdigit() else os.cpu_count() or 1
        # Of all, so that a stopped command goes on as it began.
        num_pairs = sum(record.num_frames for record in records)
        compiled = num_pairs > nodes * per_node * PAIRS_WORTH_COMPILING
        extraction = FlowExtraction(store, todo, compiled, pairs_at_once)
        trainer.predict(extraction, return_predictions=False)
        trainer.strategy.barrier()  # else the first process to finish would end the command
    return store


def flow_trainer(devices: str, nodes: int, num_videos: int) -> Trainer:
    """Return what deals the videos out over processes, GPUs and machines."""
    on_gpu = torch.cuda.is_available()
    if devices == "auto":
        num_devices = torch.cuda.device_count() if on_gpu else min(os.cpu_count() or 1, num_videos)
        devices = str(num_devices)
    if not on_gpu:
        torch.set_num_threads(1)  # the processes are the parallelism
    accelerator = "cuda" if on_gpu else "cpu"
    strategy = "auto"
    if devices != "1" or nodes > 1:
        # The others wait for the longest video.
        strategy = DDPStrategy(timeout=timedelta(days=7))
    return Trainer(
        accelerator=accelerator,
        devices=int(devices) if devices.isdigit() else devices,
        num_nodes=nodes,
        plugins=environment_plugins(accelerator, devices, nodes),
        strategy=strategy,
        logger=False,
        enable_checkpointing=False,
        use_distributed_sampler=False,
        callbacks=[TQDMProgressBar()],  # in log files too
    )


class FlowExtraction(LightningModule):
    """Write the flow of videos, as `Trainer.predict` deals them out; nothing is returned.

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
        self.store = store
        self.records = records
        self.fused = compiled or None
        self.pairs_at_once = pairs_at_once
        self.parent = os.getppid()
        # Fewer videos may be left than there are processes.
        self.allow_zero_length_dataloader_with_multiple_devices = True

    def predict_dataloader(self) -> DataLoader:
        own = range(self.trainer.global_rank, len(self.records), self.trainer.world_size)
        return DataLoader(own, batch_size=None)

    def predict_step(self, index: int) -> int:
        if self.local_rank and os.getppid() != self.parent:
            # It was killed; repeated, the command would do the same videos.
            raise UserError("The process that started this one is gone.")
        record = self.records[index]
        reader = VideoReader(record.path)
        flows = video_flow(reader, self.device, self.fused, self.pairs_at_once)
        self.store.write(record, flows)
        return index
