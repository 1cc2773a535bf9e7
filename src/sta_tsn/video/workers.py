"""Processes that read for a data loader: how many there is room for, what one that died read."""

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch.utils.data import get_worker_info

from sta_tsn.errors import UserError

SHARED_MEMORY = "/dev/shm"  # where Linux keeps what processes hand to one another; 64 MB in Docker
PREFETCHED = 2  # batches that a worker makes before they are asked for, torch's default
# Loaders at work together, training's and validation's, may have half of the room each.
SHARE_OF_ROOM = 0.5
DEAD_WORKER = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\)")
SIGNAL = re.compile(r"killed by signal: ([\w ]+)")


def free_shared_memory() -> int | None:
    """Return the free bytes of shared memory; None where the system has no such folder."""
    if not Path(SHARED_MEMORY).is_dir():
        return None
    state = os.statvfs(SHARED_MEMORY)
    return state.f_bavail * state.f_frsize


def workers_with_room(
    num_workers: int, batch_bytes: int, num_processes: int, say: Callable[[str], None]
) -> int:
    """Return how many workers shared memory has room for, at most `num_workers`.

    The system kills a worker that runs out of shared memory. With no workers, the process itself
    reads the data, which is slower but needs no shared memory.

    Args:
        num_workers: number of workers asked for.
        batch_bytes: size of one batch in bytes.
        num_processes: number of processes on this machine, each with that many workers.
        say: called with a sentence if fewer workers are returned than asked for.
    """
    free = free_shared_memory()
    if free is None or not num_workers:
        return num_workers
    room = SHARE_OF_ROOM * free / num_processes
    batches = room // max(1, batch_bytes)
    # One more is in the hands of the process that asked for it.
    fitting = max(0, min(num_workers, int(batches - 1) // PREFETCHED))
    if fitting < num_workers:
        say(
            f"{SHARED_MEMORY} has {free / 1e6:.0f} MB free and a batch {batch_bytes / 1e6:.0f}: "
            f"{fitting} of num_workers={num_workers} processes read for each device. More room "
            "(Docker: --shm-size=2g) makes it quicker."
        )
    return fitting


class ReadingNow:
    """Keeps, for all processes to see, what each worker of a loader is reading.

    Args:
        num_workers: of the loader.
    """

    def __init__(self, num_workers: int):
        self._table = torch.full((num_workers, 2), -1, dtype=torch.int64)  # process id, index
        if num_workers:
            self._table.share_memory_()

    def note(self, index: int) -> None:
        """Say, in a worker, that item `index` is read from here on."""
        worker = get_worker_info()
        if worker is not None and worker.id < len(self._table):
            self._table[worker.id, 0] = os.getpid()
            self._table[worker.id, 1] = index

    def by(self, process_id: int) -> int | None:
        """Return the index that a process read last; None where it is no worker of this loader."""
        for known, index in self._table.tolist():
            if known == process_id:
                return index
        return None


def dead_worker(error: BaseException, loaders: Sequence[tuple[ReadingNow, list[Path]]]) -> None:
    """Raise a sentence that names the file where an error says that a worker died.

    Args:
        error: of a data loader, or of what asked it.
        loaders: what each of them is reading, and its files in the order of their indices.

    Raises:
        UserError: the error is that of a worker that died.
    """
    said = f"{error} {error.__cause__}"
    found = DEAD_WORKER.search(said) if isinstance(error, RuntimeError) else None
    if not found:
        return
    files = []
    for process_id in map(int, found[1].split(",")):
        for reading, paths in loaders:
            index = reading.by(process_id)
            if index is not None:
                files.append(str(paths[index]))
    where = f" while it read {', '.join(files)}" if files else ""
    signal = SIGNAL.search(said)
    how = signal[0] if signal else "killed or crashed"
    raise UserError(
        f"A process that reads data died{where} ({how}). Where memory ran out, fewer "
        "data.num_workers take less of it; where it is always this file, `check-data` looks at it."
    ) from error
