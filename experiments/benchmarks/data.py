"""What checking a dataset costs beside decoding it once, and what sampling a long video takes.

    .venv/bin/python experiments/benchmarks/data.py DATA=<ucf101> [CLIPS=1000] [ROUNDS=3]

CLIPS copies of the clips that lie in DATA/UCF-101 are decoded once by a plain pool of processes,
one a core, and checked by `make check-data`'s code, in turn; then checked again. A ten-minute video
is written and 30 frames of it are read in a process of its own, whose memory is compared with what
it held before.
"""

import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import av
import numpy as np

from sta_tsn.datasets import Folder, build_manifest, check_dataset
from sta_tsn.datasets.demo import write_video
from sta_tsn.video import SegmentSampler, VideoReader

LONG_VIDEO_FRAMES = 10 * 60 * 25


def decode(path: str) -> int:
    with av.open(path) as container:
        return sum(1 for _ in container.decode(video=0))


def decode_all(paths: list[str]) -> float:
    start = time.perf_counter()
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        frames = sum(pool.map(decode, paths))
    seconds = time.perf_counter() - start
    print(f"  decoded {frames:,} frames of {len(paths)} clips in {seconds:.1f} s", flush=True)
    return seconds


def check_all(folder: Path, manifest: Path) -> float:
    start = time.perf_counter()
    dataset = Folder(str(folder))
    report = check_dataset(dataset, build_manifest(dataset.listed(), manifest))
    seconds = time.perf_counter() - start
    print(f"  checked {report['videos']['readable']} readable clips in {seconds:.1f} s", flush=True)
    return seconds


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def sample_long_video(path: str, short: str) -> tuple[float, float, float]:
    """Return the peak memory before and after reading 30 frames, MB, and the seconds it took."""
    VideoReader(short).read([0])  # the decoders' libraries are loaded
    before = peak_mb()
    start = time.perf_counter()
    VideoReader(path).read(SegmentSampler()(LONG_VIDEO_FRAMES).flatten().tolist())
    return before, peak_mb(), time.perf_counter() - start


def panning(num_frames: int) -> np.ndarray:
    """Return a view over a wide noise image, uint8 (num_frames, 180, 320, 3).

    It goes one pixel further each frame, and takes no memory of its own.
    """
    image = np.random.default_rng(0).integers(0, 255, (180, 319 + num_frames, 3), dtype=np.uint8)
    return np.lib.stride_tricks.sliding_window_view(image, 320, axis=1).transpose(1, 0, 3, 2)


def main() -> None:
    options = dict(argument.split("=", 1) for argument in sys.argv[1:])
    clips = sorted(Path(options.get("DATA", "")).glob("UCF-101/*/*.avi"))
    if not clips:
        raise SystemExit(__doc__)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "videos")
        for number in range(int(options.get("CLIPS", 1000))):
            source = clips[number % len(clips)]
            target = folder / f"class{number % 2}" / f"{number:05d}.avi"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
        paths = [str(path) for path in sorted(folder.glob("*/*.avi"))]
        ratios = []
        again = []
        for number in range(int(options.get("ROUNDS", 3))):
            manifest = Path(name, f"manifest{number}.csv")
            plain = decode_all(paths)
            ratios.append(check_all(folder, manifest) / plain)
            again.append(check_all(folder, manifest))
        extremes = f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(f"Checking takes {statistics.median(ratios):.2f} ({extremes}) of decoding once,")
        print(f"checking again {statistics.median(again):.2f} s.")

        long = Path(name, "long.mp4")
        write_video(long, panning(LONG_VIDEO_FRAMES), codec="libx264")
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            before, after, seconds = pool.submit(sample_long_video, str(long), paths[0]).result()
        size_mb = long.stat().st_size / 1e6
        print(
            f"30 frames of a 10-minute video ({size_mb:.0f} MB): "
            f"{after - before:.0f} MB more memory, {seconds:.2f} s."
        )


if __name__ == "__main__":
    main()
