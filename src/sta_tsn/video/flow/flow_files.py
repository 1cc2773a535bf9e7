"""One video's optical flow on disk: read by index, with what made it inside.

A file is an uncompressed zip of grey JPEG pictures, `flow_x_00001.jpg` and `flow_y_00001.jpg` for the first pair of frames
and so on (TSN's names), and `about.json`. It can be looked at with any zip program. Measured on JHMDB at 340x256: 9 kB a
pair at JPEG quality 95, where PNG takes 30; a pair is read in 0.2 ms. A folder with TSN's pictures, as other tools write
them, is read as it is.
"""

import json
import zipfile
from collections.abc import Iterable, Sequence
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
    """Pixels -> uint8, 0 for -bound and 255 for +bound, clipped, halves rounded to even. No motion is NO_MOTION."""
    return ((flow.clamp(-bound, bound) + bound) * (255 / (2 * bound))).round().to(torch.uint8)


def dequantize_flow(stored: Tensor, bound: float = BOUND_PX) -> Tensor:
    """uint8 -> pixels, to within bound / 255 (0.08 px), which is what NO_MOTION reads as."""
    return stored.float() * (2 * bound / 255) - bound


def write_flow(path: Path, flows: Iterable[Tensor], settings: dict | None, video: Path) -> None:
    """Quantise and store flows (2, H, W) in pixels, one after the other; the file appears when all are in it."""
    with atomic(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        number = 0
        for number, flow in enumerate(flows, 1):
            for axis, plane in zip("xy", quantize_flow(flow).cpu().numpy(), strict=True):
                _, picture = cv2.imencode(".jpg", plane, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
                archive.writestr(f"flow_{axis}_{number:05d}.jpg", picture.tobytes())
        archive.writestr(
            ABOUT, json.dumps({"pairs": number, "settings": settings, "source": source_of(video)})
        )


def source_of(video: Path) -> dict:
    """What tells a video file from others; of a folder of pictures its size and time alone."""
    stat = video.stat()
    about = {"bytes": stat.st_size, "modified_ns": stat.st_mtime_ns}
    return about | ({"sha256": file_digest(video)} if video.is_file() else {})


def is_source(about: dict, video: Path) -> bool:
    """Whether the flow was made from the file as it is now; its bytes are read where only the time differs: a copy will do."""
    stat = video.stat()
    if about["bytes"] != stat.st_size:
        return False
    return about["modified_ns"] == stat.st_mtime_ns or (
        "sha256" in about and about["sha256"] == file_digest(video)
    )


def read_about(path: Path) -> dict:
    """What made a video's flow; of another tool's folder the number of pairs and when, of a damaged file or folder what is wrong."""
    if path.is_dir():
        names = {picture.name for picture in path.glob("flow_*.jpg")}
        pairs = sum(name.startswith("flow_x_") for name in names)
        missing = {
            f"flow_{axis}_{number:05d}.jpg" for axis in "xy" for number in range(1, pairs + 1)
        } - names
        if missing:
            return {"damaged": f"{min(missing)} is missing"}
        # a tool that makes flow anew writes all pictures: over old ones their folder's time stays as it is
        times = [path.stat().st_mtime_ns, (path / "flow_x_00001.jpg").stat().st_mtime_ns]
        return {"pairs": pairs, "modified_ns": max(times)}
    try:
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read(ABOUT))
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        return {"damaged": f"not a whole flow file ({error})"}


def read_flow(path: Path, starts: Sequence[int], length: int) -> np.ndarray:
    """Stacks of `length` consecutive flows as uint8 (n, H, W, 2 length): x and y of the first pair, of the second, ...

    Args:
        path: of a video, see `FlowStore.path`.
        starts: 0-based index of each stack's first pair. Behind the video's end its last pair repeats.

    Raises:
        UserError: a picture is missing or damaged.
    """
    if path.is_dir():
        return _stacks(
            lambda name: (path / name).read_bytes(),
            sum(1 for _ in path.glob("flow_x_*.jpg")),
            starts,
            length,
            path,
        )
    try:
        with zipfile.ZipFile(path) as archive:
            return _stacks(archive.read, (len(archive.namelist()) - 1) // 2, starts, length, path)
    except zipfile.BadZipFile as error:
        raise UserError(
            f"{path}: not a whole flow file ({error}); delete it and run make flow again"
        ) from error


def _stacks(read, num_pairs: int, starts: Sequence[int], length: int, path: Path) -> np.ndarray:
    wanted = np.minimum(np.add.outer(np.asarray(starts), np.arange(length)), num_pairs - 1)
    planes = {}
    for index in np.unique(wanted):
        for axis in "xy":
            name = f"flow_{axis}_{index + 1:05d}.jpg"
            try:
                plane = cv2.imdecode(np.frombuffer(read(name), np.uint8), cv2.IMREAD_GRAYSCALE)
            except (KeyError, OSError, cv2.error):
                plane = None
            if plane is None:
                remedy = (
                    "make it again with the tool that made it"
                    if path.is_dir()
                    else f"delete {path.name} and run make flow again"
                )
                raise UserError(f"{path}: {name} is missing or damaged; {remedy}")
            planes[index, axis] = plane
    if len(sizes := {plane.shape for plane in planes.values()}) > 1:
        raise UserError(
            f"{path}: pictures of several sizes, {sorted(sizes)} (height, width); make the flow of this video again"
        )
    return np.stack(
        [
            np.stack([planes[index, axis] for index in stack for axis in "xy"], -1)
            for stack in wanted
        ]
    )
