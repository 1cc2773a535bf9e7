"""A disk that fills up again and again over the whole road, and one that may only be read."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kills import Road, differences, run_to_the_end, tiny_road, walk
from tally import Tally

SIZE_MB = 256
FILLER = "filler"
WORDS_OF_FULL = ("no space left", "No space left", "quota")


@contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """Yield a folder on a disk of its own of `SIZE_MB`; None where none may be mounted."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


def fill(folder: Path, free_bytes: int) -> None:
    """Fill a disk so that `free_bytes` are left."""
    filler = folder / FILLER
    filler.unlink(missing_ok=True)
    state = os.statvfs(folder)
    size = max(0, state.f_bavail * state.f_frsize - free_bytes)
    if size:
        with open(filler, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)


def try_disks(folder: Path, videos: Path, step_bytes: int, most: int) -> list[Tally]:
    """Walk the road on a disk that has a little more room after each time that it was full.

    Args:
        folder: to work in.
        videos: in UCF101's layout.
        step_bytes: room that is made each time.
        most: times that the disk may be full.
    """
    full = Tally("Disks", "full again and again over the whole road, each time a little later")
    others = Tally("Disks", "read-only (one that goes in mid-run was not tried)")
    whole = tiny_road(folder / "whole", videos, long=False)
    walk(whole)
    with small_disk(folder / "disk") as disk:
        if disk is None:
            full.remark = "no small disk may be mounted here: not tried"
            return [full]
        road = tiny_road(disk / "road", videos, long=False)
        _walk_full(road, disk, step_bytes, most, full)
        for sentence in differences(whole.runs, road.runs):
            full.note("lost", sentence)
        shutil.rmtree(road.folder)
        _walk_read_only(tiny_road(disk / "road", videos, long=False), disk, others)
    return [full, others]


def _walk_full(road: Road, disk: Path, step_bytes: int, most: int, tally: Tally) -> None:
    used = _used(disk)
    room = 0
    for arguments in road.commands:
        while tally.tried < most:
            room += step_bytes
            fill(disk, max(0, used + room - _used(disk)))
            ended = run_to_the_end(arguments, road.folder, "disk")
            if ended.status == 0:
                break
            tally.tried += 1
            name = f"{arguments[0]}, {room // 1024} KiB on the disk"
            if ended.status is None:
                tally.note("hung", name)
            elif not ended.is_named:
                tally.note("unnamed", f"{name}: {ended.last_line}")
            elif not any(word in ended.said for word in WORDS_OF_FULL):
                tally.note("unnamed", f"{name}, not said to be full: {ended.last_line}")
            elif str(disk) not in ended.said:
                tally.note("unnamed", f"{name}, the folder is not named: {ended.last_line}")
        (disk / FILLER).unlink(missing_ok=True)
        ended = run_to_the_end(arguments, road.folder, "disk")
        if ended.status != 0:
            tally.note("lost", f"{arguments[0]} with room again: {ended.last_line}")


def _used(disk: Path) -> int:
    """Return the bytes of the disk that the road, not the filler, has taken."""
    state = os.statvfs(disk)
    used = (state.f_blocks - state.f_bfree) * state.f_frsize
    filler = disk / FILLER
    return used - (filler.stat().st_blocks * 512 if filler.exists() else 0)


def _walk_read_only(road: Road, disk: Path, tally: Tally) -> None:
    tally.tried += 1
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    ended = run_to_the_end(road.commands[0], Path("/"), "disk")
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    if ended.status is None:
        tally.note("hung", "train")
    elif ended.status == 0 or not ended.is_named:
        tally.note("unnamed", f"train: {ended.last_line}")
