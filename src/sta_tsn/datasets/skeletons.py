"""Skeleton files, read strictly: whatever is wrong in one is said with file, line and value.

A sequence is float32 (T, P, J, 3): frames, persons, joints, then x to the right, y up and z away
from the camera, in metres where there is depth.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sta_tsn.datasets.lists import read_lines
from sta_tsn.datasets.manifest import Manifest, ManifestRow
from sta_tsn.datasets.records import VideoDataset, VideoRecord
from sta_tsn.errors import DatasetError

FLOAT32_MAX = float(np.finfo(np.float32).max)
SBU_COLUMNS = 1 + 2 * 15 * 3
NTU_JOINTS = 25
NTU_JOINT_COLUMNS = 12
NTU_BODY_COLUMNS = 10


@dataclass(frozen=True)
class Skeleton:
    """Describe the joints of one person.

    Args:
        joints: names, sides as `left_...` and `right_...`.
        bones: pairs of indices of joints.
        torso: index of the joint in the body's middle.
    """

    joints: tuple[str, ...]
    bones: tuple[tuple[int, int], ...]
    torso: int

    @property
    def mirrored(self) -> list[int]:
        """Return the index of each joint's counterpart on the other side of the body.

        In the middle that is the joint itself.
        """
        other = {"left": "right", "right": "left"}
        counterparts = []
        for name in self.joints:
            parts = [other.get(part, part) for part in name.split("_")]
            counterparts.append(self.joints.index("_".join(parts)))
        return counterparts


class SkeletonDataset(VideoDataset):
    """Offer a dataset whose records are sequences of `num_persons` skeletons."""

    num_persons: int
    skeleton: Skeleton

    @abstractmethod
    def read(self, path: Path) -> np.ndarray:
        """Return a record's file as (T, num_persons, J, 3)."""


def read_sbu_skeleton(path: Path) -> np.ndarray:
    """Read `skeleton_pos.txt` of SBU.

    A line has the frame's number, then x, y, z of 15 joints of each of 2 persons. SBU's read-me
    gives what x, y (0 to 1, from the left and from the top) and z were divided by; that is undone
    here, so that the three axes have one unit.

    Returns:
        (T, 2, 15, 3), metres.

    Raises:
        DatasetError: other than 91 columns (one person only, other joints), no number, NaN, a frame
            of zeros, frames that are not numbered one after the other, an empty file.
    """
    frames: list[np.ndarray] = []
    before = None
    for place, line in read_lines(path):
        cells = line.split(",")
        if len(cells) != SBU_COLUMNS:
            held = f"{(len(cells) - 1) / 3:g} joints in place of 2 x 15"
            raise DatasetError(
                f"{place}: {len(cells)} columns, {SBU_COLUMNS} are expected ({held}); "
                f"the last is {cells[-1]!r}"
            )
        number, *values = (_number(cell, place, column) for column, cell in enumerate(cells, 1))
        if before is not None and number != before + 1:
            raise DatasetError(f"{place}: frame {number:g} after frame {before:g}")
        before = number
        frames.append(_joints(values, place))
    normalised = np.stack(frames).reshape(-1, 2, 15, 3)
    return (normalised - np.float32([0.5, 0.5, 0])) * np.float32([2.56, -1.92, 1.28])


def _joints(values: list[float], place: str) -> np.ndarray:
    persons = np.array(values, np.float32).reshape(2, -1)
    for number, person in enumerate(persons, 1):
        if not person.any():
            raise DatasetError(
                f"{place}: every joint of person {number} is 0, so nobody was tracked"
            )
    return persons


def read_ntu_skeleton(path: Path) -> np.ndarray:
    """Read a `.skeleton` file of NTU RGB+D.

    It holds the number of frames; per frame the number of bodies; per body a line about it (its
    tracking id first), the number of joints (25), and a line of 12 values per joint, x, y, z in
    metres first.

    Returns:
        (T, P, 25, 3) of the P tracking ids in order of appearance; NaN in frames in which one is
        not tracked.

    Raises:
        DatasetError: the file ends early or goes on, a count or value is none, another number of
            joints, nobody in any frame.
    """
    lines = iter(read_lines(path))
    frames: list[dict[str, np.ndarray]] = []
    for _ in range(_count(lines, path, "frames")):
        bodies = {}
        for _ in range(_count(lines, path, "bodies")):
            place, cells = _cells(lines, path, NTU_BODY_COLUMNS, "a body")
            if cells[0] in bodies:
                raise DatasetError(f"{place}: tracking id {cells[0]} is in this frame twice")
            joints = _count(lines, path, "joints")
            if joints != NTU_JOINTS:
                raise DatasetError(
                    f"{place}: the body has {joints} joints, {NTU_JOINTS} are expected"
                )
            positions = [_ntu_joint(lines, path) for _ in range(joints)]
            bodies[cells[0]] = np.array(positions, np.float32)
        frames.append(bodies)
    left = next(lines, None)
    if left:
        raise DatasetError(f"{left[0]}: {left[1]!r} after the last of {len(frames)} frames")
    place_of: dict[str, int] = {}
    for bodies in frames:
        for name in bodies:
            place_of.setdefault(name, len(place_of))
    if not place_of:
        raise DatasetError(f"{path}: nobody was tracked in any of {len(frames)} frames")
    sequence = np.full((len(frames), len(place_of), NTU_JOINTS, 3), np.nan, np.float32)
    for number, bodies in enumerate(frames):
        for name, joints in bodies.items():
            sequence[number, place_of[name]] = joints
    return sequence


def _ntu_joint(lines: Iterator[tuple[str, str]], path: Path) -> list[float]:
    """Read a joint's line; return x, y and z."""
    place, cells = _cells(lines, path, NTU_JOINT_COLUMNS, "a joint")
    position = []
    for column, cell in enumerate(cells[:3], 1):
        position.append(_number(cell, place, column))
    return position


def _cells(
    lines: Iterator[tuple[str, str]], path: Path, columns: int, what: str
) -> tuple[str, list[str]]:
    place, line = next(lines, (str(path), ""))
    if not line:
        raise DatasetError(f"{path}: the file ends where {what} is expected")
    cells = line.split()
    if len(cells) != columns:
        raise DatasetError(
            f"{place}: {len(cells)} values in place of the {columns} of {what}: {line[:60]!r}"
        )
    return place, cells


def _count(lines: Iterator[tuple[str, str]], path: Path, what: str) -> int:
    """Read a line that holds one number.

    Raises:
        DatasetError: it holds something else.
    """
    place, cells = _cells(lines, path, 1, f"the number of {what}")
    written = cells[0]
    if not written.isdecimal():
        raise DatasetError(f"{place}: {written!r} is not a number of {what}")
    return int(written)


def _number(cell: str, place: str, column: int) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = np.nan
    if not abs(value) <= FLOAT32_MAX:  # NaN and infinity, too
        raise DatasetError(f"{place}: {cell.strip()!r} in column {column} is not a finite number")
    return value


def skeleton_manifest(records: list[VideoRecord], read: Callable[[Path], np.ndarray]) -> Manifest:
    """Return for skeleton files what the manifest is for videos: frames, or why one is unreadable.

    It is not kept on disk: reading SBU's 282 files takes half a second.
    """
    manifest = {}
    for record in records:
        if record.path.exists():
            stat = record.path.stat()
            found: dict[str, int | str] = {}
            try:
                found["num_frames"] = len(read(record.path))
            except DatasetError as error:
                found["reason"] = str(error)
            name = str(record.path.absolute())
            manifest[name] = ManifestRow(name, stat.st_size, stat.st_mtime_ns, **found)
    return manifest
