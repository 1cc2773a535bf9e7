"""The manifest: which files really decode, to how many frames, counted once.

Container headers lie (JHMDB's declare a fifth more frames than there are), so every file is decoded once, in
a child process that is killed after a time limit. Rows of unchanged files (same size and modification time)
are reused, but for failures that may have been the machine's. The table is written as it grows, so an interrupted
count goes on where it stopped.
"""

import csv
import multiprocessing
import os
import time
from collections.abc import Collection
from concurrent.futures import BrokenExecutor
from concurrent.futures import TimeoutError as PebbleTimeout
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path

from sta_tsn.artefacts import atomic
from sta_tsn.datasets.records import VideoRecord
from sta_tsn.errors import DatasetError

TIME_LIMIT_SEC = 60.0
BYTES_PER_SEC = 1e6  # on top: an untrimmed video of THUMOS14 takes its time
TOOK_LONGER = "decoding took longer than"
CRASHED = "the decoder failed"
ANOTHER_DAY = (
    CRASHED,
    *(
        f"not a readable video: {why}"
        for why in ("Permission", "Input/output", "Cannot allocate", "Too many open")
    ),
)
SECONDS_BETWEEN_WRITES = 20.0
NO_VIDEO_FORMATS = ("tty", "image2", "gif")  # FFmpeg plays text files and pictures, too
EXACT_DURATION_FORMATS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")  # AVI's and MPEG's is not


@dataclass(frozen=True)
class ManifestRow:
    """One file. `reason` is empty for a readable video, else why it is left out."""

    path: str
    size_bytes: int
    modified_ns: int
    num_frames: int = 0
    width_px: int = 0
    height_px: int = 0
    fps: float = 0.0
    reason: str = ""


Manifest = dict[str, ManifestRow]  # by absolute path; files that do not exist have no row


def read_manifest(path: str | os.PathLike) -> Manifest:
    """The stored table; empty where there is none."""
    if not Path(path).exists():
        return {}
    types = {field.name: field.type for field in fields(ManifestRow)}
    with open(path, newline="", encoding="utf-8") as file:
        try:
            rows = [
                ManifestRow(**{key: types[key](value) for key, value in row.items()})
                for row in csv.DictReader(file)
            ]
        except (TypeError, KeyError, ValueError) as error:
            raise DatasetError(
                f"{path} is damaged. Delete it: the frames are counted anew."
            ) from error
    return {row.path: row for row in rows}


def build_manifest(
    records: list[VideoRecord],
    path: str | os.PathLike,
    time_limit_sec: float = TIME_LIMIT_SEC,
    retry_slow: bool = False,
) -> Manifest:
    """Count the frames of every record's file that exists; reuse what `path` already knows.

    Args:
        records: videos to look at; absent files are passed over (they are the split's business).
        path: the manifest's CSV file, read first and rewritten.
        time_limit_sec: per file, and a second more per megabyte; a decoder that hangs longer is killed and the file
            named with that reason.
        retry_slow: look again at files that took longer than the limit; a busy machine may have been at fault.
    """
    known = {
        file: row
        for file, row in read_manifest(path).items()
        if not row.reason.startswith(ANOTHER_DAY)
    }
    if retry_slow:
        known = {file: row for file, row in known.items() if not row.reason.startswith(TOOK_LONGER)}
    todo, gone = [], set()
    for file in sorted({str(record.path.absolute()) for record in records}):
        try:
            stat = Path(file).stat()
        except (FileNotFoundError, NotADirectoryError):
            if known.pop(file, None):
                gone.add(file)
            continue
        row = known.get(file)
        if row is None or (row.size_bytes, row.modified_ns) != (stat.st_size, stat.st_mtime_ns):
            todo.append(ManifestRow(file, stat.st_size, stat.st_mtime_ns))
    if todo:
        _count_all(todo, known, path, time_limit_sec)
    if gone:
        _write(path, known, gone)
    return known


def _count_all(todo: list[ManifestRow], known: Manifest, path, time_limit_sec: float) -> None:
    from pebble import ProcessPool
    from rich.progress import track

    workers = min(os.cpu_count() or 1, len(todo))
    context = multiprocessing.get_context(
        "spawn"
    )  # a forked decoder can inherit a locked lock and hang
    last_write = time.monotonic()
    with ProcessPool(max_workers=workers, context=context) as pool:
        limits = [time_limit_sec + row.size_bytes / BYTES_PER_SEC for row in todo]
        futures = [
            (row, limit, pool.schedule(probe, [row.path], timeout=limit))
            for row, limit in zip(todo, limits, strict=True)
        ]
        try:
            for row, limit, future in track(futures, description="Counting frames that decode"):
                known[row.path] = _outcome(row, future, limit)
                if time.monotonic() - last_write > SECONDS_BETWEEN_WRITES:
                    _write(path, known)
                    last_write = time.monotonic()
        except KeyboardInterrupt:
            pool.stop()
            raise
        finally:
            _write(path, known)


def _outcome(row: ManifestRow, future, limit_sec: float) -> ManifestRow:
    try:
        found = future.result()
    except PebbleTimeout:
        found = {"reason": f"{TOOK_LONGER} {limit_sec:.3g} s"}
    except BrokenExecutor as error:  # nothing is wrong with the video
        raise DatasetError(
            f"The processes that count frames do not start ({error}). In a script of your own, put what runs below "
            "`if __name__ == '__main__':`; else look for a lack of memory."
        ) from error
    except Exception as error:  # a decoder that crashed its process, too
        found = {"reason": f"{CRASHED}: {type(error).__name__} {error}"}
    return ManifestRow(**{**asdict(row), **found})


def probe(path: str) -> dict:
    """Decode a whole file: num_frames, width_px, height_px, fps; `reason` where it is not a whole video.

    A folder is a video of numbered pictures, 00001.jpg and so on.
    """
    import av

    if Path(path).is_dir():
        return _probe_pictures(Path(path))

    if Path(path).is_file() and Path(path).stat().st_size == 0:
        return {"reason": "the file is empty"}
    try:
        with av.open(path) as container:
            if not container.streams.video:
                return {"reason": "the file holds no video stream"}
            stream, kind = container.streams.video[0], container.format.name
            if kind in NO_VIDEO_FORMATS or kind.endswith("_pipe"):
                return {"reason": f"not a video: FFmpeg takes it for {kind}"}
            frames, size = 0, (stream.width, stream.height)
            for frame in container.decode(stream):
                frames += 1
                if frames == 1 and frame.rotation % 180:  # of a telephone held upright
                    size = size[::-1]
            found = {
                "num_frames": frames,
                "width_px": size[0],
                "height_px": size[1],
                "fps": float(stream.average_rate or 0),
            }
            own = (
                float(stream.duration * stream.time_base) if stream.duration else 0
            )  # the sound may be longer
            expected = (own or (container.duration or 0) / av.time_base) * found["fps"]
    except (av.FFmpegError, ValueError) as error:
        return {
            "reason": f"not a readable video: {error.strerror if hasattr(error, 'strerror') else error}"
        }
    if frames == 0:
        return {"reason": "no frame decodes"}
    missing_bytes = _riff_bytes_missing(path)
    if missing_bytes:
        return {
            **found,
            "reason": f"truncated: {missing_bytes} bytes are missing, {frames} frames decode",
        }
    if kind in EXACT_DURATION_FORMATS and frames < 0.9 * expected - 2:
        return {**found, "reason": f"truncated: {frames} of about {expected:.0f} frames decode"}
    return found


def numbered_pictures(folder: Path) -> list[Path]:
    """The frames of a video that is stored as pictures, in order."""
    pictures = (
        path
        for path in folder.iterdir()
        if path.suffix.lower() in (".jpg", ".jpeg", ".png") and path.stem.isdigit()
    )
    return sorted(pictures, key=lambda path: (int(path.stem), path.name))


def _probe_pictures(folder: Path) -> dict:
    import cv2

    pictures = numbered_pictures(folder)
    if not pictures:
        return {"reason": "the folder holds no numbered pictures (00001.jpg, ...)"}
    numbers = [int(path.stem) for path in pictures]
    for before, after in pairwise(numbers):
        if after != before + 1:
            return {
                "reason": f"picture {before + 1:05d} is missing"
                if after > before
                else f"picture {after:05d} is there twice"
            }
    size = None
    for path in pictures:
        picture = cv2.imread(str(path))
        if picture is None:
            return {"reason": f"{path.name} is not a readable picture"}
        if picture.shape != (size := size or picture.shape):
            return {
                "reason": f"{path.name} is {picture.shape[1]}x{picture.shape[0]}, the pictures before it {size[1]}x{size[0]}"
            }
    return {
        "num_frames": len(pictures),
        "width_px": picture.shape[1],
        "height_px": picture.shape[0],
    }


def _riff_bytes_missing(path: str) -> int:
    """How much shorter an AVI file is than its header says; decoders are silent about a cut-off end."""
    with open(path, "rb") as file:
        head = file.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"AVI ":
        return 0
    return max(0, int.from_bytes(head[4:8], "little") + 8 - Path(path).stat().st_size)


def _write(path: str | os.PathLike, manifest: Manifest, gone: Collection[str] = ()) -> None:
    """With what another process counted meanwhile."""
    manifest = {
        file: row for file, row in (read_manifest(path) | manifest).items() if file not in gone
    }
    with atomic(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(ManifestRow)])
        writer.writeheader()
        writer.writerows(asdict(manifest[name]) for name in sorted(manifest))
