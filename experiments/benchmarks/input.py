"""The input pipeline against mmaction2's, and the reader against decord and torchcodec.

    .venv/bin/python experiments/benchmarks/input.py [JHMDB=<jhmdb>] [UCF101=<ucf101>]
        [CLIPS=12] [ROUNDS=5] [OUT=runs/benchmarks/input]

Every clip is read in turn by everyone, in one process of one thread, and CPU time is compared: how
busy the machine is matters little so. A training clip of mmaction2 goes through the transforms of
its TSN recipe (decord, short side 256, multi-scale crop, 224x224, flip, NCHW). A 10 s film of
1280x720 in H.264 is made from the clips. The peers are installed into OUT/peers on first use; torch
and what else is here is shared with them. torchcodec looks for FFmpeg's libraries in the system;
where there are none it is left out, with its message. Writes input.csv, every measurement, and
table.md.

A frame is wrong where it differs by more than 12 grey levels in the mean from the frame of that
number when all are decoded in order. Decoders round differently, by a level or two.
"""

import os
import platform
import subprocess
import sys
import time
import venv
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch

import sta_tsn
from sta_tsn.datasets import VideoRecord
from sta_tsn.datasets.demo import write_video
from sta_tsn.video import ClipDataset, SegmentSampler, VideoReader

PEERS = ["mmaction2==1.2.0", "mmcv-lite==2.1.0", "mmengine==0.10.7", "torchcodec"]
NEEDED_BY_PEERS = ["addict", "einops", "platformdirs", "termcolor", "tomli", "yapf"]
SCALES = (1, 0.875, 0.75, 0.66)
WRONG_LEVELS = 12
GOALS = {
    ("JHMDB", "30 frames, training clip", "mmaction2"): 1.7,
    ("UCF101", "30 frames, training clip", "mmaction2"): 1.7,
    ("UCF101", "3 frames, reader", "decord"): 1.5,
    ("720p", "3 frames, reader", "decord"): 1.0,
}


def make_peers(folder: Path) -> Path:
    """Return the interpreter of an environment that holds the peers and sees what is here."""
    python = folder / "bin" / "python"
    if (folder / "complete").exists():
        return python
    print(f"Installing mmaction2 and torchcodec into {folder} ...", flush=True)
    venv.create(folder, with_pip=True, clear=True)
    pip = [python, "-m", "pip", "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, *PEERS, *NEEDED_BY_PEERS], check=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    here = Path(torch.__file__).parents[1]
    (packages / "suite.pth").write_text(f"{here}\n")
    (folder / "complete").touch()
    return python


def ours_clip(path: str, num_frames: int, seed: int) -> torch.Tensor:
    record = VideoRecord("clip", Path(path), (0,), "", num_frames)
    sampler = SegmentSampler(3, 10, training=True)
    return ClipDataset([record], 1, sampler, "augment", 224)[0, seed]["clips"]


def mmaction2_clip(path: str, num_frames: int, seed: int) -> torch.Tensor:
    np.random.seed(seed)
    return MMACTION2({"filename": path, "label": 0, "start_index": 0, "modality": "RGB"})["inputs"]


def mmaction2_pipeline():
    from mmaction.datasets.transforms import (
        DecordDecode,
        DecordInit,
        Flip,
        FormatShape,
        MultiScaleCrop,
        PackActionInputs,
        Resize,
        SampleFrames,
    )
    from mmcv.transforms import Compose

    return Compose(
        [
            DecordInit(),
            SampleFrames(clip_len=1, frame_interval=1, num_clips=30),
            DecordDecode(),
            Resize(scale=(-1, 256)),
            MultiScaleCrop(224, scales=SCALES, random_crop=False, max_wh_scale_gap=1),
            Resize(scale=(224, 224), keep_ratio=False),
            Flip(flip_ratio=0.5),
            FormatShape("NCHW"),
            PackActionInputs(),
        ]
    )


def read_ours(path: str, num_frames: int, indices: list[int]) -> np.ndarray:
    return VideoReader(path, num_frames).read(indices)


def read_decord(path: str, num_frames: int, indices: list[int]) -> np.ndarray:
    import decord

    return decord.VideoReader(path, num_threads=1).get_batch(indices).asnumpy()


def read_torchcodec(path: str, num_frames: int, indices: list[int]) -> np.ndarray:
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(path, num_ffmpeg_threads=1, dimension_order="NHWC")
    return decoder.get_frames_at(indices).data.numpy()


READERS = {"ours": read_ours, "decord": read_decord, "torchcodec": read_torchcodec}


def seconds(function, *arguments) -> tuple[float, np.ndarray | None]:
    """Return the CPU time that a call takes and what it returned; NaN, None where it fails."""
    start = time.process_time()
    try:
        result = function(*arguments)
    except Exception as error:  # of a peer; the table says how many
        print(f"{function.__name__} {arguments[0]}: {error}".splitlines()[0], flush=True)
        return float("nan"), None
    return time.process_time() - start, result


def measure_clip(path: str, rounds: int) -> list[dict]:
    truth = np.stack(list(VideoReader(path).frames()))
    rows = []
    for number in range(rounds):
        took = {"ours": seconds(ours_clip, path, len(truth), number)[0]}
        took["mmaction2"] = seconds(mmaction2_clip, path, len(truth), number)[0]
        for who, value in took.items():
            rows.append({"task": "30 frames, training clip", "who": who, "seconds": value})
        for num_indices in (30, 3):
            generator = torch.Generator().manual_seed(number)
            sampler = SegmentSampler(3, num_indices // 3, training=True)
            indices = sampler(len(truth), generator).flatten().tolist()
            for who, read in READERS.items():
                value, frames = seconds(read, path, len(truth), indices)
                wrong = 0 if frames is None else num_wrong(frames, truth[indices])
                task = f"{num_indices} frames, reader"
                rows.append({"task": task, "who": who, "seconds": value, "wrong": wrong})
    return [{**row, "clip": path, "round": index // 8} for index, row in enumerate(rows)]


def num_wrong(frames: np.ndarray, truth: np.ndarray) -> int:
    differences = np.abs(frames.astype(np.int16) - truth).mean((1, 2, 3))
    return int((differences > WRONG_LEVELS).sum())


def write_film(path: Path, clips: list[str]) -> None:
    """Write 10 s of 1280x720, the clips one after another."""
    frames = []
    for clip in clips:
        for frame in VideoReader(clip).frames():
            frames.append(cv2.resize(frame, (1280, 720)))
            if len(frames) == 250:
                write_video(path, np.stack(frames), codec="libx264")
                return
    raise SystemExit("Too few clips for 250 frames: give a higher CLIPS.")


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Return how much faster we are than each peer: median and quartiles over pairs in time."""
    lines = []
    keys = ["set", "task"]
    for (name, task), part in rows.groupby(keys, sort=False):
        times = part.pivot_table(index=["clip", "round"], columns="who", values="seconds")
        for who in part["who"].unique():
            if who == "ours" or who not in times:  # it failed on every clip, and said why
                continue
            ratio = (times[who] / times["ours"]).dropna()
            low, middle, high = ratio.quantile([0.25, 0.5, 0.75])
            of_peer = part[part["who"] == who]
            lines.append(
                {
                    "clips": name,
                    "task": task,
                    "ours, ms": f"{1000 * times['ours'].median():.1f}",
                    "peer": who,
                    "peer / ours": f"{middle:.2f}",
                    "half of the pairs": f"{low:.2f} to {high:.2f}",
                    "goal": GOALS.get((name, task, who), ""),
                    "its wrong frames": f"{of_peer['wrong'].sum():.0f}" if "reader" in task else "",
                }
            )
    return pd.DataFrame(lines)


def machine() -> str:
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    names = ["torch", "av", "opencv-python-headless", "albumentations", "decord", "torchcodec"]
    names += ["mmaction2", "mmcv-lite"]
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    instructions = torch.backends.cpu.get_cpu_capability()
    return f"{model}, {instructions}, {os.cpu_count()} cores, one thread; {versions}."


def measure(options: dict[str, str], out: Path) -> None:
    """Measure, in the peers' environment."""
    global MMACTION2
    MMACTION2 = mmaction2_pipeline()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    sets = {
        "JHMDB": sorted(Path(options.get("JHMDB", "-")).glob("ReCompress_Videos/*/*.avi")),
        "UCF101": sorted(Path(options.get("UCF101", "-")).glob("UCF-101/*/*.avi")),
    }
    num_clips = int(options.get("CLIPS", 12))
    chosen = {}
    for name, files in sets.items():
        step = max(1, len(files) // num_clips)
        if files:
            chosen[name] = [str(file) for file in files[::step][:num_clips]]
    if not chosen:
        raise SystemExit(__doc__)
    film = out / "film.mp4"
    if not film.exists():
        write_film(film, next(reversed(chosen.values())))
    chosen["720p"] = [str(film)]
    rows = []
    for name, files in chosen.items():
        for number, file in enumerate(files):
            print(f"{name}: clip {number + 1} of {len(files)}", flush=True)
            measured = measure_clip(file, int(options.get("ROUNDS", 5)))
            rows += [{"set": name, **row} for row in measured]
    table = pd.DataFrame(rows)
    table.to_csv(out / "input.csv", index=False)
    text = f"{summary(table).to_markdown(index=False)}\n\n{machine()}\n"
    (out / "table.md").write_text(text)
    print(text)


def main() -> None:
    options = dict(argument.split("=", 1) for argument in sys.argv[1:])
    out = Path(options.get("OUT", "runs/benchmarks/input")).resolve()
    out.mkdir(parents=True, exist_ok=True)
    if options.pop("MEASURE", None):
        measure(options, out)
        return
    python = make_peers(out / "peers")
    one_thread = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(sta_tsn.__file__).parents[1])}
    command = [python, __file__, *sys.argv[1:], f"OUT={out}", "MEASURE=1"]
    sys.exit(subprocess.run(command, env=os.environ | one_thread).returncode)


if __name__ == "__main__":
    main()
