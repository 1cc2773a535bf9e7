"""One video's optical flow on disk: read by index, with what made it inside.

A file is an uncompressed zip of grey JPEG pictures, `flow_x_00001.jpg` and `flow_y_00001.jpg` for
the first pair of frames and so on (TSN's names), and `about.json`. It can be looked at with any zip
program. Measured on JHMDB at 340x256: 9 kB a pair at JPEG quality 95, where PNG takes 30; a pair is
read in 0.2 ms. A folder with TSN's pictures, as other tools write them, is read as it is.
"""

import json
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from sta_tsn.artefacts import atomic, file_digest
from sta_tsn.errors import UserError

BOUND_PX = 20.0
JPEG_QUALITY = 95
NO_MOTION = 128  # as stored
ABOUT = "about.json"


def quantize_flow(flow: Tensor, bound: float = BOUND_PX) -> Tensor:
    """Return flow in pixels as uint8: 0 for -bound, 255 for +bound, NO_MOTION for none.

    It is clipped, and halves are rounded to even.
    """
    positive = flow.clamp(-bound, bound) + bound
    return (positive * (255 / (2 * bound))).round().to(torch.uint8)


def dequantize_flow(stored: Tensor, bound: float = BOUND_PX) -> Tensor:
    """Return uint8 flow in pixels, to within bound / 255 (0.08 px): what NO_MOTION reads as."""
    return stored.float() * (2 * bound / 255) - bound


def write_flow(path: Path, flows: Iterable[Tensor], settings: dict | None, video: Path) -> None:
    """Quantise and store flows (2, H, W) in pixels, one after the other.

    The file appears when all are in it.
    """
    with atomic(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        number = 0
        for number, flow in enumerate(flows, 1):
            for axis, plane in zip("xy", quantize_flow(flow).cpu().numpy(), strict=True):
                _, picture = cv2.imencode(".jpg", plane, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
                archive.writestr(f"flow_{axis}_{number:05d}.jpg", picture.tobytes())
        about = {"pairs": number, "settings": settings, "source": source_of(video)}
        archive.writestr(ABOUT, json.dumps(about))


def source_of(video: Path) -> dict:
    """Return what tells a video file from others; of a folder of pictures its size and time."""
    stat = video.stat()
    about = {"bytes": stat.st_size, "modified_ns": stat.st_mtime_ns}
    if video.is_file():
        about["sha256"] = file_digest(video)
    return about


def is_source(about: dict, video: Path) -> bool:
    """Return whether the flow was made from the file as it is now.

    Its bytes are read where only the time differs: a copy will do.
    """
    stat = video.stat()
    if about["bytes"] != stat.st_size:
        return False
    if about["modified_ns"] == stat.st_mtime_ns:
        return True
    return "sha256" in about and about["sha256"] == file_digest(video)


def read_about(path: Path) -> dict:
    """Return what made a video's flow.

    Of another tool's folder that is the number of pairs and when, of a damaged file or folder what
    is wrong.
    """
    if path.is_dir():
        return _about_folder(path)
    try:
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read(ABOUT))
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        return {"damaged": f"not a whole flow file ({error})"}


def read_flow(path: Path, starts: Sequence[int], length: int) -> np.ndarray:
    """Read stacks of consecutive flows as uint8 (n, H, W, 2 length).

    The last axis has x and y of the first pair, of the second, ...

    Args:
        path: of a video, see `FlowStore.path`.
        starts: 0-based index of each stack's first pair. Behind the video's end its last pair
            repeats.
        length: flows of a stack.

    Raises:
        UserError: a picture is missing or damaged.
    """
    if path.is_dir():
        num_pairs = sum(1 for _ in path.glob("flow_x_*.jpg"))
        return _stacks(lambda name: (path / name).read_bytes(), num_pairs, starts, length, path)
    try:
        with zipfile.ZipFile(path) as archive:
            num_pairs = (len(archive.namelist()) - 1) // 2
            return _stacks(archive.read, num_pairs, starts, length, path)
    except zipfile.BadZipFile as error:
        raise UserError(
            f"{path}: not a whole flow file ({error}); delete it and run make flow again"
        ) from error


def _about_folder(path: Path) -> dict:
    names = {picture.name for picture in path.glob("flow_*.jpg")}
    pairs = sum(name.startswith("flow_x_") for name in names)
    expected = set()
    for axis in "xy":
        expected |= {f"flow_{axis}_{number:05d}.jpg" for number in range(1, pairs + 1)}
    missing = expected - names
    if missing:
        return {"damaged": f"{min(missing)} is missing"}
    # A tool that makes flow anew writes all pictures: over old ones their folder's time stays.
    times = [path.stat().st_mtime_ns, (path / "flow_x_00001.jpg").stat().st_mtime_ns]
    return {"pairs": pairs, "modified_ns": max(times)}


def _stacks(
    read: Callable[[str], bytes], num_pairs: int, starts: Sequence[int], length: int, path: Path
) -> np.ndarray:
    wanted = np.add.outer(np.asarray(starts), np.arange(length))
    wanted = np.minimum(wanted, num_pairs - 1)
    planes = {}
    for index in np.unique(wanted):
        for axis in "xy":
            name = f"flow_{axis}_{index + 1:05d}.jpg"
            planes[index, axis] = _plane(read, name, path)
    sizes = {plane.shape for plane in planes.values()}
    if len(sizes) > 1:
        raise UserError(
            f"{path}: pictures of several sizes, {sorted(sizes)} (height, width); make the flow of "
            "this video again"
        )
    stacks = []
    for stack in wanted:
        channels = []
        for index in stack:
            channels += [planes[index, "x"], planes[index, "y"]]
        stacks.append(np.stack(channels, -1))
    return np.stack(stacks)


def _plane(read: Callable[[str], bytes], name: str, path: Path) -> np.ndarray:
    try:
        plane = cv2.imdecode(np.frombuffer(read(name), np.uint8), cv2.IMREAD_GRAYSCALE)
    except (KeyError, OSError, cv2.error):
        plane = None
    if plane is None:
        remedy = f"delete {path.name} and run make flow again"
        if path.is_dir():
            remedy = "make it again with the tool that made it"
        raise UserError(f"{path}: {name} is missing or damaged; {remedy}")
    return plane
