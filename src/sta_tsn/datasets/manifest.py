"""The manifest: which files really decode, to how many frames, counted once.

Container headers lie (JHMDB's declare a fifth more frames than there are), so every file is decoded
once, in a child process that is killed after a time limit. Rows of unchanged files (same size and
modification time) are reused, but for failures that may have been the machine's. The table is
written as it grows, so an interrupted count goes on where it stopped.
"""

import csv
import multiprocessing
import os
import time
from collections.abc import Collection, Iterable
from concurrent.futures import BrokenExecutor
from concurrent.futures import TimeoutError as PebbleTimeout
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path

from sta_tsn.artefacts import atomic
from sta_tsn.datasets.decoding import (
    DecodingInOrder,
    moving_track,
    open_video,
    why_not_decodable,
)
from sta_tsn.datasets.records import VideoRecord
from sta_tsn.datasets.truncation import bytes_missing, ends_before_its_duration
from sta_tsn.errors import DatasetError

TIME_LIMIT_SEC = 60.0
BYTES_PER_SEC = 1e6  # on top: an untrimmed video of THUMOS14 takes its time
TOOK_LONGER = "decoding took longer than"
CRASHED = "the decoder failed"
NO_ANSWER = "the file system does not give it"
ANOTHER_DAY = (
    CRASHED,
    NO_ANSWER,
    *(
        f"not a readable video: {why}"
        for why in ("Permission", "Input/output", "Cannot allocate", "Too many open")
    ),
)
SECONDS_BETWEEN_WRITES = 20.0
NO_VIDEO_FORMATS = ("tty", "image2")  # FFmpeg plays text files and pictures, too
USABLE_SHARE = 0.5  # of the packets; a file of which fewer decode is left out


@dataclass(frozen=True)
class ManifestRow:
    """Say what is known of one file.

    `reason` is empty for a readable video, else why it is left out. `note` says what is odd about
    a video that is used all the same: some packets do not decode, or the frames change size.
    """

    path: str
    size_bytes: int
    modified_ns: int
    num_frames: int = 0
    width_px: int = 0
    height_px: int = 0
    fps: float = 0.0
    reason: str = ""
    note: str = ""


Manifest = dict[str, ManifestRow]  # by absolute path; files that do not exist have no row


def read_manifest(path: str | os.PathLike) -> Manifest:
    """Return the stored table; empty where there is none.

    Versions before the column `note` refused files that are read today: their refusals are dropped
    and so are looked at again.

    Raises:
        DatasetError: where the file is damaged.
    """
    if not Path(path).exists():
        return {}
    types = {field.name: field.type for field in fields(ManifestRow)}
    with open(path, newline="", encoding="utf-8") as file:
        try:
            table = csv.DictReader(file)
            rows = [
                ManifestRow(**{key: types[key](value) for key, value in row.items()})
                for row in table
            ]
        except (TypeError, KeyError, ValueError) as error:
            raise DatasetError(
                f"{path} is damaged. Delete it: the frames are counted anew."
            ) from error
    if "note" not in (table.fieldnames or ()):
        rows = [row for row in rows if not row.reason]
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
        time_limit_sec: per file, and a second more per megabyte; a decoder that hangs longer is
            killed and the file named with that reason.
        retry_slow: look again at files that took longer than the limit; a busy machine may have
            been at fault.

    Raises:
        DatasetError: a file's name, or a folder's, is not UTF-8.
    """
    refuse_unprintable(record.path for record in records)
    known = {
        file: row
        for file, row in read_manifest(path).items()
        if not row.reason.startswith(ANOTHER_DAY)
    }
    if retry_slow:
        known = {file: row for file, row in known.items() if not row.reason.startswith(TOOK_LONGER)}
    todo: list[ManifestRow] = []
    gone: set[str] = set()
    for file in sorted({str(record.path.absolute()) for record in records}):
        try:
            stat = Path(file).stat()
        except (FileNotFoundError, NotADirectoryError):
            if known.pop(file, None):
                gone.add(file)
            continue
        except OSError as error:  # a loop of links, a stale mount, too long a name
            known[file] = ManifestRow(file, 0, 0, reason=f"{NO_ANSWER}: {error.strerror}")
            continue
        row = known.get(file)
        if row is None or (row.size_bytes, row.modified_ns) != (stat.st_size, stat.st_mtime_ns):
            todo.append(ManifestRow(file, stat.st_size, stat.st_mtime_ns))
    if todo:
        _count_all(todo, known, path, time_limit_sec)
    if gone:
        _write(path, known, gone)
    return known


def refuse_unprintable(paths: Iterable[Path]) -> None:
    """Raise DatasetError where names are not UTF-8, which every list, table and page wants."""
    odd = []
    for path in paths:
        raw = os.fsencode(path)
        try:
            raw.decode("utf-8")
        except UnicodeDecodeError:
            odd.append(raw.decode("utf-8", "backslashreplace"))
    if odd:
        raise DatasetError(
            f"{odd[0]}: this name is not UTF-8 (of {len(odd)} files in all); lists and tables hold "
            "names as UTF-8. Rename them: convmv -r -f latin1 -t utf8 --notest FOLDER, say."
        )


def _count_all(todo: list[ManifestRow], known: Manifest, path, time_limit_sec: float) -> None:
    from pebble import ProcessPool
    from rich.progress import track

    workers = min(os.cpu_count() or 1, len(todo))
    # A forked decoder can inherit a locked lock and hang.
    context = multiprocessing.get_context("spawn")
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
            f"The processes that count frames do not start ({error}). In a script of your own, "
            "put what runs below `if __name__ == '__main__':`; else look for a lack of memory."
        ) from error
    except Exception as error:  # a decoder that crashed its process, too
        found = {"reason": f"{CRASHED}: {type(error).__name__} {error}"}
    return ManifestRow(**{**asdict(row), **found})


def probe(path: str) -> dict:
    """Decode a whole file and return what is known of it.

    A folder is a video of numbered pictures, 00001.jpg and so on.

    Returns:
        num_frames, width_px, height_px, fps; `reason` where it is not a whole video; `note` where
        it is usable, with a remark.
    """
    if Path(path).is_dir():
        return _probe_pictures(Path(path))
    import av

    try:
        why_not = why_not_decodable(path)
        if why_not:
            return {"reason": why_not}
        with open_video(path) as container:
            return _probe_container(path, container)
    except (av.FFmpegError, OSError, ValueError) as error:
        return {"reason": f"not a readable video: {getattr(error, 'strerror', None) or error}"}


def _probe_container(path: str, container) -> dict:
    track = moving_track(container)
    kind = container.format.name
    if track is None:
        return {"reason": "the file holds no video stream"}
    if kind in NO_VIDEO_FORMATS or kind.endswith("_pipe"):
        return {"reason": f"not a video: FFmpeg takes it for {kind}"}
    num_frames = 0
    num_scaled = 0
    last_time = None
    rotation = 0
    decoding = DecodingInOrder(container, track)
    for frame in decoding:
        rotation = frame.rotation if num_frames == 0 else rotation
        num_frames += 1
        num_scaled += (frame.width, frame.height) != decoding.size
        last_time = frame.pts if frame.pts is not None else last_time
    if num_frames == 0:
        return {"reason": "no frame decodes"}
    width_px, height_px = decoding.size
    if rotation % 180:  # of a telephone held upright
        width_px, height_px = height_px, width_px
    found = {
        "num_frames": num_frames,
        "width_px": width_px,
        "height_px": height_px,
        "fps": float(track.average_rate or 0),
    }
    num_missing = bytes_missing(path, kind)
    if num_missing:
        cut = f"truncated: {num_missing} bytes are missing, {num_frames} frames decode"
        return {**found, "reason": cut}
    if decoding.ended_early or ends_before_its_duration(container, track, num_frames, last_time):
        return {**found, "reason": f"truncated: {num_frames} frames decode, then the file ends"}
    if decoding.num_broken and num_frames < USABLE_SHARE * (num_frames + decoding.num_broken):
        reason = f"damaged: {num_frames} frames decode, {decoding.num_broken} packets do not"
        return {**found, "reason": reason}
    note = _note(decoding, num_frames, num_scaled)
    return {**found, "note": note} if note else found


def _note(decoding: DecodingInOrder, num_frames: int, num_scaled: int) -> str:
    """Return what a reader of the results should know about a file that is used."""
    remarks = []
    if decoding.num_broken:
        remarks.append(
            f"{decoding.num_broken} packets do not decode, the {num_frames} frames that do are used"
        )
    if num_scaled:
        width_px, height_px = decoding.size
        remarks.append(
            f"{num_scaled} frames have another size than the first and are scaled to its "
            f"{width_px}x{height_px}"
        )
    return "; ".join(remarks)


def numbered_pictures(folder: Path) -> list[Path]:
    """Return the frames of a video that is stored as pictures, in order."""
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
            if after > before:
                return {"reason": f"picture {before + 1:05d} is missing"}
            return {"reason": f"picture {after:05d} is there twice"}
    size = None
    for path in pictures:
        picture = cv2.imread(str(path))
        if picture is None:
            return {"reason": f"{path.name} is not a readable picture"}
        size = size or picture.shape
        if picture.shape != size:
            return {
                "reason": f"{path.name} is {picture.shape[1]}x{picture.shape[0]}, "
                f"the pictures before it {size[1]}x{size[0]}"
            }
    return {
        "num_frames": len(pictures),
        "width_px": picture.shape[1],
        "height_px": picture.shape[0],
    }


def _write(path: str | os.PathLike, manifest: Manifest, gone: Collection[str] = ()) -> None:
    """Write the table with what another process counted meanwhile."""
    together = read_manifest(path) | manifest
    for file in gone:
        together.pop(file, None)
    columns = [field.name for field in fields(ManifestRow)]
    with atomic(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for name in sorted(together):
            writer.writerow(asdict(together[name]))
