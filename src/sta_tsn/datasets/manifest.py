"""The manifest: which files really decode, to how many frames, counted once.

Container headers lie (JHMDB's declare a fifth more frames than there are), so every file is decoded once, in
a child process that is killed after a time limit. Rows of unchanged files (same size and modification time)
are reused. The table is written as it grows, so an interrupted count goes on where it stopped.
"""

import csv
import multiprocessing
import os
import time
from concurrent.futures import TimeoutError as PebbleTimeout
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from sta_tsn.artefacts import atomic
from sta_tsn.datasets.records import VideoRecord

TIME_LIMIT_SEC = 60.0
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
        rows = [ManifestRow(**{key: types[key](value) for key, value in row.items()}) for row in csv.DictReader(file)]
    return {row.path: row for row in rows}


def build_manifest(records: list[VideoRecord], path: str | os.PathLike, time_limit_sec: float = TIME_LIMIT_SEC) -> Manifest:
    """Count the frames of every record's file that exists; reuse what `path` already knows.

    Args:
        records: videos to look at; absent files are passed over (they are the split's business).
        path: the manifest's CSV file, read first and rewritten.
        time_limit_sec: per file; a decoder that hangs longer is killed and the file named with that reason.
    """
    known = read_manifest(path)
    todo, gone = [], False
    for file in sorted({str(record.path.absolute()) for record in records}):
        try:
            stat = Path(file).stat()
        except FileNotFoundError:
            gone = known.pop(file, None) is not None or gone
            continue
        row = known.get(file)
        if row is None or (row.size_bytes, row.modified_ns) != (stat.st_size, stat.st_mtime_ns):
            todo.append(ManifestRow(file, stat.st_size, stat.st_mtime_ns))
    if todo:
        _count_all(todo, known, path, time_limit_sec)
    elif gone:
        _write(path, known)
    return known


def _count_all(todo: list[ManifestRow], known: Manifest, path, time_limit_sec: float) -> None:
    from pebble import ProcessPool
    from rich.progress import track

    workers = min(os.cpu_count() or 1, len(todo))
    context = multiprocessing.get_context("spawn")  # a forked decoder can inherit a locked lock and hang
    last_write = time.monotonic()
    with ProcessPool(max_workers=workers, context=context) as pool:
        futures = [(row, pool.schedule(probe, [row.path], timeout=time_limit_sec)) for row in todo]
        try:
            for row, future in track(futures, description="Counting frames that decode"):
                known[row.path] = _outcome(row, future, time_limit_sec)
                if time.monotonic() - last_write > SECONDS_BETWEEN_WRITES:
                    _write(path, known)
                    last_write = time.monotonic()
        except KeyboardInterrupt:
            pool.stop()
            raise
        finally:
            _write(path, known)


def _outcome(row: ManifestRow, future, time_limit_sec: float) -> ManifestRow:
    try:
        found = future.result()
    except PebbleTimeout:
        found = {"reason": f"decoding took longer than {time_limit_sec:g} s"}
    except Exception as error:  # a decoder that crashed its process, too
        found = {"reason": f"the decoder failed: {type(error).__name__} {error}"}
    return ManifestRow(**{**asdict(row), **found})


def probe(path: str) -> dict:
    """Decode a whole file: num_frames, width_px, height_px, fps; `reason` where it is not a whole video."""
    import av

    if Path(path).is_file() and Path(path).stat().st_size == 0:
        return {"reason": "the file is empty"}
    try:
        with av.open(path) as container:
            if not container.streams.video:
                return {"reason": "the file holds no video stream"}
            stream, kind = container.streams.video[0], container.format.name
            if kind in NO_VIDEO_FORMATS or kind.endswith("_pipe"):
                return {"reason": f"not a video: FFmpeg takes it for {kind}"}
            frames = sum(1 for _ in container.decode(stream))
            found = {"num_frames": frames, "width_px": stream.width, "height_px": stream.height, "fps": float(stream.average_rate or 0)}
            expected = (container.duration or 0) / av.time_base * found["fps"]
    except (av.FFmpegError, ValueError) as error:
        return {"reason": f"not a readable video: {error.strerror if hasattr(error, 'strerror') else error}"}
    if frames == 0:
        return {"reason": "no frame decodes"}
    missing_bytes = _riff_bytes_missing(path)
    if missing_bytes:
        return {**found, "reason": f"truncated: {missing_bytes} bytes are missing, {frames} frames decode"}
    if kind in EXACT_DURATION_FORMATS and frames < 0.9 * expected - 2:
        return {**found, "reason": f"truncated: {frames} of about {expected:.0f} frames decode"}
    return found


def _riff_bytes_missing(path: str) -> int:
    """How much shorter an AVI file is than its header says; decoders are silent about a cut-off end."""
    with open(path, "rb") as file:
        head = file.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"AVI ":
        return 0
    return max(0, int.from_bytes(head[4:8], "little") + 8 - Path(path).stat().st_size)


def _write(path: str | os.PathLike, manifest: Manifest) -> None:
    with atomic(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(ManifestRow)])
        writer.writeheader()
        writer.writerows(asdict(manifest[name]) for name in sorted(manifest))
