"""Videos damaged in every way that was thought of, read in every way that the suite reads."""

import os
import random
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import TimeoutError as PebbleTimeout
from multiprocessing import get_context
from pathlib import Path
from zlib import crc32

import av
import numpy as np
from encoded_videos import add_track, encode
from pebble import ProcessExpired, ProcessPool
from tally import Tally

from sta_tsn.datasets.demo import ACTIONS, render_clip
from sta_tsn.datasets.manifest import CRASHED, TOOK_LONGER, build_manifest, probe
from sta_tsn.datasets.records import VideoRecord
from sta_tsn.errors import VideoReadError
from sta_tsn.video import VideoReader
from sta_tsn.video.timed_frames import timed_frames

SECONDS_A_FILE = 120
CONTAINERS = {
    "mp4": "h264_open",
    "mov": "mjpeg",
    "mkv": "hevc_open",
    "webm": "vp9",
    "avi": "mpeg4_b",
    "mpg": "mpeg1_b",
    "ts": "mpeg2_b",
    "flv": "h264_closed",
}
REAL_SUFFIXES = (".avi", ".mp4", ".mkv", ".mpg")
MOST_FRAMES = 60  # of a clip that is encoded anew
LARGEST = 3_000_000  # bytes of a clip that is damaged: what matters is the format, not the length
NO_VIDEOS = (b"", b"\0" * 5000, b"frame,label\n" * 200, b"GIF89a", b"RIFF\xff\xff\xff\xffAVI LIST")
ABSURD = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def whole_clips(folder: Path, data: Path | None, number: int, seed: int) -> list[Path]:
    """Return whole videos: real ones, and some of them in other containers.

    Args:
        folder: to write to.
        data: folder of real videos; None: clips of the demo dataset are rendered.
        number: of clips, before some are written anew.
        seed: of the choice.
    """
    folder.mkdir(parents=True)
    if data:
        found = [path for path in sorted(data.rglob("*")) if _is_small_video(path)]
        chosen = random.Random(seed).sample(found, min(number, len(found)))
        clips = [Path(shutil.copy(path, folder)) for path in chosen]
    else:
        clips = list(_rendered(folder, number, seed))
    for place, (suffix, codec) in enumerate(CONTAINERS.items()):
        clip = clips[place % len(clips)]
        pictures = _pictures(clip)
        path = folder / f"{suffix}_{codec}.{suffix}"
        with av.open(str(path), "w") as container:
            height_px, width_px = pictures[0].shape[:2]
            encode(container, add_track(container, codec, width_px, height_px), pictures)
        clips.append(path)
    return clips


def _is_small_video(path: Path) -> bool:
    return path.suffix in REAL_SUFFIXES and path.stat().st_size < LARGEST


def _rendered(folder: Path, number: int, seed: int) -> Iterator[Path]:
    from sta_tsn.datasets.demo import write_video

    for place, name in zip(range(number), list(ACTIONS) * number, strict=False):
        frames, _, _ = render_clip(ACTIONS[name], seed + place, (seed, place))
        path = folder / f"{name}_{place}.avi"
        write_video(path, frames)
        yield path


def _pictures(clip: Path) -> dict[int, np.ndarray]:
    """Return a clip's first pictures with even sides, as encoders want them."""
    pictures = {}
    for number, picture in enumerate(VideoReader(clip).frames()):
        if number == MOST_FRAMES:
            break
        height_px, width_px = (side // 2 * 2 for side in picture.shape[:2])
        pictures[number] = cropped(picture, height_px, width_px)
    return pictures


def truncated(clip: Path, others: list[Path], draw: random.Random) -> tuple[bytes, str]:
    content = clip.read_bytes()
    return content[: draw.randrange(len(content))], clip.suffix


def flipped(clip: Path, others: list[Path], draw: random.Random) -> tuple[bytes, str]:
    content = bytearray(clip.read_bytes())
    for _ in range(2 ** draw.randrange(9)):
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return bytes(content), clip.suffix


def zeroed(clip: Path, others: list[Path], draw: random.Random) -> tuple[bytes, str]:
    content = bytearray(clip.read_bytes())
    for _ in range(draw.randint(1, 6)):
        start = draw.randrange(len(content))
        end = min(len(content), start + draw.randint(1, max(2, len(content) // 8)))
        content[start:end] = bytes(end - start)
    return bytes(content), clip.suffix


def cut_out(clip: Path, others: list[Path], draw: random.Random) -> tuple[bytes, str]:
    """Lose a piece in the middle, or see one twice."""
    content = clip.read_bytes()
    start, end = sorted(draw.sample(range(len(content)), 2))
    if draw.random() < 0.5:
        return content[:start] + content[end:], clip.suffix
    return content[:end] + content[start:], clip.suffix


def wrong_container(clip: Path, others: list[Path], draw: random.Random) -> tuple[bytes, str]:
    """Name a file as what it is not: another container, or no video at all."""
    content = clip.read_bytes() if draw.random() < 0.6 else draw.choice(NO_VIDEOS)
    return content, f".{draw.choice(list(CONTAINERS))}"


def absurd_header(clip: Path, others: list[Path], draw: random.Random) -> tuple[bytes, str]:
    """Put impossible numbers where containers keep counts, sizes and lengths: at either end."""
    content = bytearray(clip.read_bytes())
    reach = min(len(content) // 2, 2048)
    for _ in range(draw.randint(1, 8)):
        start = draw.randrange(0, reach - 4)
        if draw.random() < 0.3:
            start = len(content) - reach + start
        order = draw.choice(("little", "big"))
        content[start : start + 4] = draw.choice(ABSURD).to_bytes(4, order)
    return bytes(content), clip.suffix


def joined(clip: Path, others: list[Path], draw: random.Random) -> tuple[bytes, str]:
    """Write one file after another: of one container or of two, of one size or of two."""
    alike = [other for other in others if other.suffix == clip.suffix]
    other = draw.choice(alike if draw.random() < 0.7 else others)
    return clip.read_bytes() + other.read_bytes(), clip.suffix


DAMAGES: dict[str, Callable] = {
    "truncated": truncated,
    "bits flipped": flipped,
    "blocks zeroed": zeroed,
    "a piece lost or twice": cut_out,
    "wrong container": wrong_container,
    "absurd headers": absurd_header,
    "concatenated": joined,
}
CODED = ("two tracks", "changing size")


def two_tracks(path: Path, pictures: dict[int, np.ndarray], draw: random.Random) -> None:
    """Write two tracks of other codecs, sizes and lengths, in either order."""
    codecs = draw.sample(("h264_open", "h264_closed", "h264_intra", "mpeg4_b"), 2)
    some = list(pictures)[: draw.randint(1, len(pictures))]
    height_px, width_px = (side // 4 * 2 for side in pictures[0].shape[:2])
    shown = [pictures, {time: cropped(pictures[time], height_px, width_px) for time in some}]
    draw.shuffle(shown)
    with av.open(str(path), "w") as container:
        tracks = []
        for codec, of_track in zip(codecs, shown, strict=True):
            height_px, width_px = of_track[0].shape[:2]
            tracks.append(add_track(container, codec, width_px, height_px))
        for track, of_track in zip(tracks, shown, strict=True):
            encode(container, track, of_track)


def cropped(picture: np.ndarray, height_px: int, width_px: int) -> np.ndarray:
    return np.ascontiguousarray(picture[:height_px, :width_px])


def changing_size(path: Path, pictures: dict[int, np.ndarray], draw: random.Random) -> None:
    """Write a stream whose size changes, once or more often."""
    codec = draw.choice(("mpeg2_b", "h264_closed"))
    content = b""
    for _ in range(draw.randint(2, 4)):
        # The encoders themselves abort the process at odd sizes.
        height_px = draw.randrange(64, pictures[0].shape[0] + 1, 16)
        width_px = draw.randrange(64, pictures[0].shape[1] + 1, 16)
        number = draw.randint(3, min(20, len(pictures)))
        part = {}
        for time in range(number):
            part[time] = cropped(pictures[time], height_px, width_px)
        with av.open(str(path), "w") as container:
            encode(container, add_track(container, codec, width_px, height_px), part)
        content += path.read_bytes()
    path.write_bytes(content)


def damaged_files(folder: Path, clips: list[Path], number: int, seed: int) -> dict[Path, str]:
    """Write damaged files and return what was done to each.

    Args:
        folder: to write to.
        clips: whole ones.
        number: of files.
        seed: of everything that is drawn.
    """
    folder.mkdir(parents=True)
    kinds = [*DAMAGES, *CODED]
    files = {}
    pictures = [_pictures(clip) for clip in clips[:4]]
    for place in range(number):
        draw = random.Random(seed * 100_000 + place)
        kind = kinds[place % len(kinds)]
        if kind in DAMAGES:
            content, suffix = DAMAGES[kind](draw.choice(clips), clips, draw)
            path = folder / f"{place:05d}{suffix}"
            path.write_bytes(content)
        elif kind == "two tracks":
            path = folder / f"{place:05d}.{draw.choice(('mp4', 'mkv', 'avi'))}"
            two_tracks(path, draw.choice(pictures), draw)
        else:
            path = folder / f"{place:05d}.ts"
            changing_size(path, draw.choice(pictures), draw)
        files[path] = kind
    return files


def compare_ways(path: str, seed: int) -> tuple[int, list[str]]:
    """Read a file in all ways of the suite; return its frames and sentences on what differs.

    Errors that are no VideoReadError are left to the caller.
    """
    found = probe(path)
    num_frames = found.get("num_frames", 0)
    if not num_frames:
        assert found["reason"]
        try:
            VideoReader(path).read([0])
        except VideoReadError:
            return 0, []
        return 0, ["no frame is counted, one is read"]
    try:
        return num_frames, _differences(path, num_frames, random.Random(seed))
    except VideoReadError as error:
        return num_frames, [f"{num_frames} frames are counted, but: {error.reason}"]


def _differences(path: str, num_frames: int, draw: random.Random) -> list[str]:
    truth = [_sum_of(picture) for picture in VideoReader(path).frames()]
    if len(truth) != num_frames:
        return [f"{num_frames} frames are counted, {len(truth)} come in order"]
    found = []
    timed = [_sum_of(frame.picture) for frame in timed_frames(path)]
    if timed != truth:
        found.append("frames with their times differ from those in order")
    for known in (None, num_frames):
        everything = VideoReader(path, known).read(range(num_frames))
        if [_sum_of(picture) for picture in everything] != truth:
            found.append(f"all at once differ from those in order (counted: {known})")
    for _ in range(6):
        indices = [draw.randrange(num_frames) for _ in range(draw.choice((1, 1, 2, 3)))]
        pictures = VideoReader(path, num_frames).read(indices)
        if [_sum_of(picture) for picture in pictures] != [truth[index] for index in indices]:
            found.append(f"frames {indices} by jumps differ from those in order")
    return found


def _sum_of(picture: np.ndarray) -> tuple:
    return (*picture.shape, crc32(np.ascontiguousarray(picture)))


def try_bad_files(folder: Path, number: int, seed: int, data: Path | None = None) -> list[Tally]:
    """Damage `number` videos, count their frames as the suite does, and read them in all ways.

    Args:
        folder: to work in.
        number: of damaged videos.
        seed: of everything that is drawn.
        data: folder of real videos.
    """
    clips = whole_clips(folder / "whole", data, number=min(40, 4 + number // 25), seed=seed)
    files = damaged_files(folder / "damaged", clips, number, seed)
    source = "real clips" if data else "clips of the demo"
    counted = Tally("Bad files", f"frames of damaged videos counted ({source})")
    records = [VideoRecord(path.name, path, (0,), path.name) for path in files]
    manifest = build_manifest(records, folder / "manifest.csv")
    for path, kind in files.items():
        counted.tried += 1
        row = manifest.get(str(path.absolute()))
        if row is None:
            counted.note("lost", f"{kind}, {path.name}: no row in the manifest")
        elif row.reason.startswith(TOOK_LONGER):
            counted.note("hung", f"{kind}, {path.name}: {row.reason}")
        elif row.reason.startswith(CRASHED):
            counted.note("unnamed", f"{kind}, {path.name}: {row.reason}")
    num_read = sum(not row.reason for row in manifest.values())
    counted.remark = f"{num_read} are used, the others are named with a reason"
    return [counted, _ways_compared(files, seed)]


def _ways_compared(files: dict[Path, str], seed: int) -> Tally:
    tally = Tally("Bad files", "the same read in order, at once, by jumps and with times")
    num_frames = 0
    with ProcessPool(max_workers=os.cpu_count(), context=get_context("spawn")) as pool:
        futures = {}
        for path in files:
            arguments = [str(path), seed]
            futures[path] = pool.schedule(compare_ways, arguments, timeout=SECONDS_A_FILE)
        for path, kind in files.items():
            tally.tried += 1
            try:
                frames, different = futures[path].result()
            except PebbleTimeout:
                tally.note("hung", f"{kind}, {path.name}: over {SECONDS_A_FILE} s")
            except ProcessExpired as error:
                tally.note("unnamed", f"{kind}, {path.name}: the process died ({error})")
            except Exception as error:
                tally.note("unnamed", f"{kind}, {path.name}: {type(error).__name__} {error}")
            else:
                num_frames += frames
                for sentence in different:
                    tally.note("lost", f"{kind}, {path.name}: {sentence}")
    tally.remark = f"{num_frames} frames"
    return tally
