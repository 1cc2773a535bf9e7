"""Optical flow on disk: one file per video, read by index, with the settings that made it inside.

A video's file is an uncompressed zip of grey JPEG pictures, `flow_x_00001.jpg` and `flow_y_00001.jpg` for the first
pair of frames and so on (TSN's names), and `about.json`. It can be looked at with any zip program. Measured on
JHMDB at 340x256: 9 kB a pair at JPEG quality 95, where PNG takes 30; a pair is read in 0.2 ms.
Folders with TSN's pictures, as other tools write them, are read as they are.
"""

import json
import time
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from sta_tsn.artefacts import atomic, file_digest, fingerprint
from sta_tsn.datasets import VideoRecord
from sta_tsn.errors import UserError

FLOW_STACK = 10  # consecutive flows that make one input of the network
BOUND_PX = 20.0
JPEG_QUALITY = 95
NO_MOTION = 128  # as stored
ABOUT = "about.json"
SECONDS_ABANDONED = 3600


def quantize_flow(flow: Tensor, bound: float = BOUND_PX) -> Tensor:
    """Pixels -> uint8, 0 for -bound and 255 for +bound, clipped, halves rounded to even. No motion is NO_MOTION."""
    return ((flow.clamp(-bound, bound) + bound) * (255 / (2 * bound))).round().to(torch.uint8)


def dequantize_flow(stored: Tensor, bound: float = BOUND_PX) -> Tensor:
    """uint8 -> pixels, to within bound / 255 (0.08 px), which is what NO_MOTION reads as."""
    return stored.float() * (2 * bound / 255) - bound


class FlowStore:
    """Flows of a dataset's videos below `root`: `<video id>.zip`, or TSN's folders `<video id>/` or, of the file's name without its
    ending, `<class>/<name>/` or `<name>/`.

    Args:
        root: folder of the store.
        settings: what a file must have been made with; None when reading whatever is there.
    """

    def __init__(self, root: str | Path, settings: dict | None = None):
        self.root, self.settings = Path(root), settings

    def file(self, record: VideoRecord) -> Path:
        return self.root / f"{record.id}.zip"

    def path(self, record: VideoRecord) -> Path:
        """The file, or TSN's folder, of a video."""
        named = self.root / record.id
        for path in (self.file(record), named, named.with_name(record.path.stem), self.root / record.path.stem):
            if path.is_file() or (path / "flow_x_00001.jpg").exists():
                return path
        raise UserError(f"No flow of {record.id} in {self.root.resolve()}: run make flow with the same DATASET and DATA first.")

    def is_current(self, record: VideoRecord) -> bool:
        """Whether the video's flow is there, whole, made with these settings from the file as it is now."""
        try:
            return self._complaint(record) is None
        except UserError:
            return False

    def fingerprint(self, records: Sequence[VideoRecord]) -> str:
        """Changes with the flow of any of the videos."""
        abouts = [read_about(self.path(record)) for record in records]
        for about in abouts:
            if "sha256" in about.get("source", {}):
                del about["source"]["modified_ns"]  # of a copy it differs
        return fingerprint([[record.id, about] for record, about in zip(records, abouts, strict=True)])

    def write(self, record: VideoRecord, flows: Iterable[Tensor]) -> None:
        """Quantise and store flows (2, H, W) in pixels, one after the other; the file appears when all are in it."""
        with atomic(self.file(record)) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            number = 0
            for number, flow in enumerate(flows, 1):
                for axis, plane in zip("xy", quantize_flow(flow).cpu().numpy(), strict=True):
                    _, picture = cv2.imencode(".jpg", plane, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
                    archive.writestr(f"flow_{axis}_{number:05d}.jpg", picture.tobytes())
            archive.writestr(ABOUT, json.dumps({"pairs": number, "settings": self.settings, "source": source_of(record.path)}))

    def clear_half_written(self) -> None:
        """Remove what processes left that were killed; another command may be writing beside this one, a video takes minutes."""
        for path in self.root.rglob(".*.zip"):
            with suppress(FileNotFoundError):  # it has just been finished
                if time.time() - path.stat().st_mtime > SECONDS_ABANDONED:
                    path.unlink()

    def check(self, records: Sequence[VideoRecord]) -> dict:
        """Every video has flow of its own, all made alike, from the files as they are now.

        Returns:
            The settings that made it; {} for another tool's, of which no more is known.

        Raises:
            UserError: naming the first videos that do not, and what to do.
        """
        paths = [self.path(record) for record in records]
        shared = [str(path) for path, count in Counter(paths).items() if count > 1]
        if shared:
            raise UserError(f"Videos of one file name share the flow in {', '.join(shared[:5])}: name the folders <video id> instead.")
        whole = [about for about in map(read_about, paths) if "damaged" not in about]
        abouts = [about for about in whole if "settings" in about]
        if len(abouts) not in (0, len(whole)):
            raise UserError(
                f"{self.root.resolve()} holds flow of make flow and of another tool, {len(abouts)} and {len(whole) - len(abouts)} videos. "
                "Complete the other tool's folders and delete the *.zip, or move the folders away and run make flow."
            )
        like = FlowStore(self.root, self.settings or (abouts[0]["settings"] if abouts else None))
        wrong = [f"  {path}: {text}" for path, record in zip(paths, records, strict=True) if (text := like._complaint(record))]
        if wrong:
            more = f"\n  ... and {len(wrong) - 5} more" if len(wrong) > 5 else ""
            raise UserError("Flow does not fit; run make flow again, it redoes what changed:\n" + "\n".join(wrong[:5]) + more)
        return like.settings or {}

    def _complaint(self, record: VideoRecord) -> str | None:
        about = read_about(self.path(record))
        if "damaged" in about:
            return about["damaged"]
        if record.num_frames and about["pairs"] != record.num_frames - 1:
            return f"{about['pairs']} pairs for {record.num_frames} frames"
        if "settings" not in about:
            return None  # TSN's folder, of which no more is known
        if self.settings and (names := differing(self.settings, about["settings"])):
            return f"made with other settings ({names})"
        return None if is_source(about["source"], record.path) else "the video changed since"


def differing(one: dict, other: dict) -> str:
    """The settings of flow that are not the same in both, by name; "" where all are. {}: of another tool, see `FlowStore.check`."""
    if not (one and other):
        return "" if one == other else "another tool's"
    one, other = ({**settings, **settings.get("tvl1", {}), "tvl1": None} for settings in (one, other))
    return ", ".join(sorted(key for key in one | other if one.get(key) != other.get(key)))


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
    return about["modified_ns"] == stat.st_mtime_ns or ("sha256" in about and about["sha256"] == file_digest(video))


def read_about(path: Path) -> dict:
    """What made a video's flow; of another tool's folder the number of pairs and when, of a damaged file or folder what is wrong."""
    if path.is_dir():
        names = {picture.name for picture in path.glob("flow_*.jpg")}
        pairs = sum(name.startswith("flow_x_") for name in names)
        missing = {f"flow_{axis}_{number:05d}.jpg" for axis in "xy" for number in range(1, pairs + 1)} - names
        if missing:
            return {"damaged": f"{min(missing)} is missing; complete the folder, or move it away"}
        times = [path.stat().st_mtime_ns, (path / "flow_x_00001.jpg").stat().st_mtime_ns]  # a picture written over leaves its folder's time
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
        return _stacks(lambda name: (path / name).read_bytes(), sum(1 for _ in path.glob("flow_x_*.jpg")), starts, length, path)
    try:
        with zipfile.ZipFile(path) as archive:
            return _stacks(archive.read, (len(archive.namelist()) - 1) // 2, starts, length, path)
    except zipfile.BadZipFile as error:
        raise UserError(f"{path}: not a whole flow file ({error}); delete it and run make flow again") from error


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
                raise UserError(f"{path}: {name} is missing or damaged; delete {path.name} and run make flow again")
            planes[index, axis] = plane
    if len(sizes := {plane.shape for plane in planes.values()}) > 1:
        raise UserError(f"{path}: pictures of several sizes, {sorted(sizes)} (height, width); make the flow of this video again")
    return np.stack([np.stack([planes[index, axis] for index in stack for axis in "xy"], -1) for stack in wanted])
