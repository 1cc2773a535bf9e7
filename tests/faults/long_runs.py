"""Thousands of reads, steps and worker starts: memory, descriptors, threads and files stay flat."""

import os
import resource
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from tally import Tally
from torch.utils.data import DataLoader

from sta_tsn.datasets import VideoRecord
from sta_tsn.tasks import SpatialAttentionBackbone
from sta_tsn.tasks.recognition import classification_loss
from sta_tsn.video import ClipDataset, SegmentSampler, VideoReader
from sta_tsn.video.datamodule import SeededSampler

MOST_MB_MORE = 40  # between a tenth of the way and its end; caches fill up before
WARM_UP = 10  # part of the way


def held() -> dict[str, float]:
    """Return what this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "MB": pages * resource.getpagesize() / 2**20,
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        "threads": len(list(Path("/proc/self/task").iterdir())),
        "temporary files": len(list(Path(tempfile.gettempdir()).iterdir())),
        "shared memory": len(list(Path("/dev/shm").iterdir())),
        "processes": _num_children(),
    }


def _num_children() -> int:
    path = Path(f"/proc/self/task/{os.getpid()}/children")
    return len(path.read_text().split()) if path.exists() else 0


def watch(what: str, number: int, once: Callable[[int], None]) -> Tally:
    """Do something `number` times and compare what is held after a tenth of them and at the end."""
    tally = Tally("Long", what)
    before: dict[str, float] = {}
    for turn in range(number):
        once(turn)
        if turn == number // WARM_UP:
            before = held()
    tally.tried = number
    after = held()
    for name, value in after.items():
        allowed = MOST_MB_MORE if name == "MB" else 0
        # Other processes of the machine write temporary files, too.
        if name in ("temporary files", "shared memory"):
            allowed = 20
        if value > before[name] + allowed:
            tally.note("lost", f"{name}: {before[name]:.0f} after a tenth, {value:.0f} at the end")
    tally.remark = f"{after['MB'] - before['MB']:+.0f} MB, {after['threads']:.0f} threads"
    return tally


def try_long(clips: list[Path], reads: int, steps: int, epochs: int) -> list[Tally]:
    """Read, train and start workers again and again.

    Args:
        clips: whole videos.
        reads: of three frames each.
        steps: of a tiny network.
        epochs: each with two workers that are started and end.
    """
    records = []
    for number, path in enumerate(clips):
        records.append(
            VideoRecord(path.name, path, (number % 2,), path.name, len(VideoReader(path)))
        )

    def read(turn: int) -> None:
        record = records[turn % len(records)]
        last = record.num_frames - 1
        VideoReader(record.path, record.num_frames).read([0, last // 2, last])

    task = SpatialAttentionBackbone(["a", "b"], "test_resnet", "none", input_px=32)
    optimizer = torch.optim.SGD(task.parameters(), lr=1e-4)
    inputs = torch.randint(0, 255, (2, 1, 1, 3, 32, 32), dtype=torch.uint8)
    labels = torch.eye(2)

    def step(turn: int) -> None:
        optimizer.zero_grad()
        classification_loss(task.model(inputs).scores, labels).backward()
        optimizer.step()

    clip_set = ClipDataset(records[:4], 2, SegmentSampler(1, 1), "center", 32)

    def epoch(turn: int) -> None:
        order = SeededSampler(len(clip_set), turn, None)
        for _ in DataLoader(clip_set, batch_size=2, sampler=order, num_workers=2):
            pass

    return [
        watch("reads of three frames", reads, read),
        watch("training steps", steps, step),
        watch("epochs with two workers started and ended", epochs, epoch),
    ]
