"""TV-L1 here against OpenCV-contrib's DualTVL1, on real JHMDB pairs and on known motions.

    .venv/bin/python experiments/benchmarks/flow.py DATA=<jhmdb> [OUT=<folder>] [PAIRS=48]

One thread each, the same pairs in turn, 340x256, each with its defaults (seven scales here, five in
OpenCV). Prints the ratio of times, ours eager and compiled (which asks for a C++ compiler), the
end-point difference where the frame has texture (gradient above 4 grey levels a pixel), the warp
residual (mean |previous - warped following|) of both, and the error on known motions of a third of
the frames; writes pairs.csv, motions.csv and pictures of three pairs. OpenCV-contrib is installed
into OUT/opencv on first use.
"""

import itertools
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from sta_tsn.video import VideoReader, tvl1_flow
from sta_tsn.video.flow.colour import colour_wheel, flow_to_colour
from sta_tsn.video.flow.video_flow import grey

TEXTURE = 4
MARGIN = 8
MOTIONS = {
    "translation 3.25, -1.5 px": cv2.getRotationMatrix2D((170, 128), 0, 1)
    + np.array([[0, 0, 3.25], [0, 0, -1.5]]),
    "rotation 1.5 degrees": cv2.getRotationMatrix2D((170, 128), 1.5, 1),
    "zoom 3 %": cv2.getRotationMatrix2D((170, 128), 0, 1.03),
}


class OpenCV:
    """Run the other side, in its own environment and process."""

    def __init__(self, folder: Path):
        python = folder / "bin" / "python"
        if not python.exists():
            print(f"Installing opencv-contrib into {folder} ...", flush=True)
            venv.create(folder, with_pip=True)
            install = [python, "-m", "pip", "install", "--quiet"]
            subprocess.run([*install, "numpy", "opencv-contrib-python-headless>=4.10"], check=True)
        worker = [python, Path(__file__).with_name("opencv_tvl1.py")]
        self.process = subprocess.Popen(
            worker, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.folder = Path(tempfile.mkdtemp())

    def flow(self, previous: np.ndarray, following: np.ndarray) -> tuple[np.ndarray, float]:
        np.save(self.folder / "pair.npy", np.stack([previous, following]))
        self.process.stdin.write(f"{self.folder / 'pair.npy'} {self.folder / 'flow.npy'}\n")
        self.process.stdin.flush()
        seconds = float(self.process.stdout.readline())
        return np.load(self.folder / "flow.npy"), seconds


def ours(
    previous: np.ndarray, following: np.ndarray, fused: bool = False
) -> tuple[np.ndarray, float]:
    start = time.perf_counter()
    earlier = torch.from_numpy(previous).float()[None]
    later = torch.from_numpy(following).float()[None]
    flow = tvl1_flow(earlier, later, fused)
    return flow[0].permute(1, 2, 0).numpy(), time.perf_counter() - start


def length(flow: np.ndarray) -> np.ndarray:
    """Return the length (H, W) of each vector of a flow (H, W, 2)."""
    return np.hypot(flow[..., 0], flow[..., 1])


def residual(flow: np.ndarray, previous: np.ndarray, following: np.ndarray) -> float:
    y, x = np.mgrid[: flow.shape[0], : flow.shape[1]].astype(np.float32)
    target = x + flow[..., 0], y + flow[..., 1]
    warped = cv2.remap(
        following.astype(np.float32), *target, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return float(np.abs(warped - previous)[MARGIN:-MARGIN, MARGIN:-MARGIN].mean())


def textured(frame: np.ndarray) -> np.ndarray:
    slopes = [
        cv2.Sobel(frame.astype(np.float32), cv2.CV_32F, *axis) / 8 for axis in ((1, 0), (0, 1))
    ]
    return np.hypot(*slopes) > TEXTURE


def real_pairs(data: Path, count: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return two neighbouring frames of `count` clips, spread over the classes."""
    clips = sorted((data / "ReCompress_Videos").glob("*/*.avi"))
    pairs = {}
    for index in np.linspace(0, len(clips) - 1, count).round().astype(int):
        clip = clips[index]
        previous, following = VideoReader(clip).read([7, 8])
        pairs[f"{clip.parent.name}/{clip.stem}"] = grey(previous), grey(following)
    return pairs


def compare(pairs: dict, opencv: OpenCV) -> tuple[pd.DataFrame, dict]:
    rows = []
    flows = {}
    for number, (name, (previous, following)) in enumerate(pairs.items(), 1):
        theirs, their_seconds = opencv.flow(previous, following)
        flow, seconds = ours(previous, following)
        compiled, compiled_seconds = ours(previous, following, fused=True)
        difference = length(flow - theirs)[textured(previous)]
        row = {
            "pair": name,
            "seconds": seconds,
            "compiled seconds": compiled_seconds,
            "opencv seconds": their_seconds,
            "compiled difference mean px": length(compiled - flow).mean(),
            "difference mean px": difference.mean(),
            "difference median px": np.median(difference),
            "residual": residual(flow, previous, following),
            "opencv residual": residual(theirs, previous, following),
        }
        rows.append(row)
        flows[name] = flow, theirs
        times = f"{seconds:.2f} s, compiled {compiled_seconds:.2f} s, OpenCV {their_seconds:.2f} s"
        print(
            f"{number}/{len(pairs)} {name}: {times}, differ {difference.mean():.3f} px", flush=True
        )
    return pd.DataFrame(rows), flows


def known_motions(frames: dict[str, np.ndarray], opencv: OpenCV) -> pd.DataFrame:
    """Return the mean end-point error of both against the true motion, by motion and frame."""
    rows = []
    for (motion, matrix), (name, frame) in itertools.product(MOTIONS.items(), frames.items()):
        y, x = np.mgrid[: frame.shape[0], : frame.shape[1]].astype(np.float32)
        following = cv2.warpAffine(
            frame, matrix, frame.shape[::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
        )
        moved = np.einsum("ij,jhw->hwi", matrix, np.stack([x, y, np.ones_like(x)]))
        truth = moved - np.stack([x, y], -1)
        row = {"motion": motion, "frame": name}
        for column, method in (("error px", ours), ("opencv error px", opencv.flow)):
            flow, _ = method(frame, following)
            row[column] = length(flow - truth)[24:-24, 24:-24].mean()
        rows.append(row)
    return pd.DataFrame(rows)


def beside(table: pd.DataFrame, mine: str, theirs: str) -> str:
    """Return the means of both, and the median and quartiles of the ratios, as text."""
    low, middle, high = (table[mine] / table[theirs]).quantile([0.25, 0.5, 0.75])
    means = f"{table[mine].mean():.4f}, OpenCV {table[theirs].mean():.4f}"
    return f"{means}; ratio {middle:.4f} (quartiles {low:.4f} to {high:.4f}, n = {len(table)})"


def picture(pairs: dict, flows: dict, path: Path) -> None:
    """Draw three pairs: frame, our flow, OpenCV's, both coloured alike.

    In the corner of each frame the wheel says where to.
    """
    largest = sorted(flows, key=lambda name: -length(flows[name][1]).mean())
    chosen = [largest[len(largest) // 8], largest[len(largest) // 4], largest[len(largest) // 2]]
    figure, axes = plt.subplots(3, 3, figsize=(10.5, 8.4), layout="constrained")
    for (frame_axis, our_axis, their_axis), name in zip(axes, chosen, strict=True):
        bound = float(np.percentile(length(flows[name][1]), 99))
        frame_axis.imshow(pairs[name][0], cmap="gray")
        frame_axis.set_title(name.partition("/")[0], fontsize=10)
        wheel = frame_axis.inset_axes((0.8, 0, 0.2, 0.2 * 340 / 256))
        wheel.imshow(colour_wheel(128))
        wheel.axis("off")
        for axis, flow, title in (
            (our_axis, flows[name][0], "here"),
            (their_axis, flows[name][1], "OpenCV"),
        ):
            axis.imshow(flow_to_colour(flow, bound))
            axis.set_title(f"{title}, full colour = {bound:.1f} px", fontsize=10)
        for axis in (frame_axis, our_axis, their_axis):
            axis.axis("off")
    figure.savefig(path, dpi=110)


def main() -> None:
    options = dict(argument.split("=", 1) for argument in sys.argv[1:])
    if "DATA" not in options:
        raise SystemExit(__doc__)
    out = Path(options.get("OUT", "runs/benchmarks/flow"))
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    opencv = OpenCV(out / "opencv")
    pairs = real_pairs(Path(options["DATA"]), int(options.get("PAIRS", 48)))
    for fused in (False, True):
        ours(*next(iter(pairs.values())), fused)  # first use loads and compiles kernels
    table, flows = compare(pairs, opencv)
    table.to_csv(out / "pairs.csv", index=False)
    every_third = list(pairs.items())[::3]
    motions = known_motions({name: frames[0] for name, frames in every_third}, opencv)
    motions.to_csv(out / "motions.csv", index=False)
    print(f"\nSeconds a pair, one thread: {beside(table, 'seconds', 'opencv seconds')}")
    print(f"Compiled: {beside(table, 'compiled seconds', 'opencv seconds')}")
    print(f"Compiled differs from eager by {table['compiled difference mean px'].mean():.5f} px")
    mean = table["difference mean px"].mean()
    median = table["difference median px"].median()
    print(f"End-point difference where textured: mean {mean:.3f} px, median {median:.4f} px")
    print(f"Warp residual, grey levels: {beside(table, 'residual', 'opencv residual')}")
    for motion, lines in motions.groupby("motion", sort=False):
        print(f"Error in px, {motion}: {beside(lines, 'error px', 'opencv error px')}")
    picture(pairs, flows, out / "pairs.png")
    print(f"\n{(out / 'pairs.csv').resolve()}\n{(out / 'pairs.png').resolve()}")


if __name__ == "__main__":
    main()
