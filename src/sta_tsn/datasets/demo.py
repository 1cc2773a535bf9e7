"""The demo dataset: rendered here, seeded, real .avi files in UCF101's layout, no download.

Six classes, ten groups each (a group is one scene), two clips a group, 320x240, 25 fps, 60 to 84 frames.
An actor appears for a quarter to a third of the clip, in a small region; drifting grey shapes distract all
the time. BallBounce and BallSwing show the same actor and differ in motion alone, so that flow has something
to add; a single RGB frame cannot tell them apart, unless the ball is nearer to an edge than the other class
comes (every region lies inside the picture): over a whole clip that gives some four clips in ten away. Window
and region of every clip are recorded in ground_truth.csv: id, first and last frame of the action (0-based,
inclusive), region x, y, width, height in pixels.
"""

import csv
import math
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import av
import cv2
import numpy as np

from sta_tsn.artefacts import atomic
from sta_tsn.datasets.records import VideoRecord
from sta_tsn.datasets.ucf101 import UCF101
from sta_tsn.errors import DatasetError

WIDTH_PX, HEIGHT_PX, FPS = 320, 240, 25
MARKER = "rendered_by_sta_tsn"  # nothing is ever written into a folder without it
NUM_GROUPS, CLIPS_PER_GROUP = 10, 2
TEST_GROUPS = {1: (1, 2, 3), 2: (4, 5, 6), 3: (7, 8, 9)}


@dataclass(frozen=True)
class Action:
    """What an actor looks like (`corners`: 0 for a disc, else of a star polygon) and how it moves."""

    corners: int
    colour: tuple[int, int, int]  # RGB
    motion: str


ACTIONS = {
    "BallBounce": Action(0, (230, 60, 40), "vertical"),
    "BallSwing": Action(0, (230, 60, 40), "horizontal"),
    "BoxOrbit": Action(4, (60, 90, 230), "circle"),
    "CrossSpin": Action(8, (60, 200, 70), "spin"),
    "StarPulse": Action(10, (230, 210, 50), "pulse"),
    "TriangleShake": Action(3, (200, 70, 210), "shake"),
}
UNRELATED = (  # actors of no class
    Action(5, (80, 210, 220), "circle"),
    Action(6, (240, 240, 240), "shake"),
)
NUM_UNRELATED = 8


class Demo(UCF101):
    """UCF101's layout under `root`, rendered on first use. See `VideoDataset`."""

    archives = ()
    published_classes = 6
    published_videos = 120
    published_splits = ((84, 36),) * 3

    def __init__(self, root: str = "data/demo"):
        render_demo(Path(root).expanduser())
        super().__init__(root)

    def key_frames(self, record: VideoRecord) -> np.ndarray:
        frames, truth = np.arange(record.num_frames), self._ground_truth[record.id]
        return (frames >= truth["first_frame"]) & (frames <= truth["last_frame"])

    def actor_mask(self, record: VideoRecord) -> np.ndarray:
        """The action's rectangle, empty outside its window."""
        truth = self._ground_truth[record.id]
        mask = np.zeros((record.num_frames, HEIGHT_PX, WIDTH_PX), bool)
        rows, columns = (
            slice(max(0, truth[a]), truth[a] + truth[b])
            for a, b in (("y_px", "height_px"), ("x_px", "width_px"))
        )
        mask[self.key_frames(record), rows, columns] = True
        return mask

    def unrelated_footage(self) -> list[Path]:
        """Return the folder of videos whose actors belong to no class, rendered on first use."""
        folder = self.root / "unrelated"
        for number in range(NUM_UNRELATED):
            path = folder / f"v_Unrelated_g{number + 1:02d}_c01.avi"
            if path.exists():
                continue
            action = UNRELATED[number % len(UNRELATED)]
            seed = 500 + number  # scenes that no clip has
            frames, (first, last), _ = render_clip(action, seed, (seed, number))
            with atomic(path) as temporary:
                write_video(temporary, frames[first : last + 1])
        return [folder]

    @cached_property
    def _ground_truth(self) -> dict[str, dict[str, int]]:
        with open(self.require("ground_truth.csv"), newline="") as file:
            return {
                row.pop("id"): {key: int(value) for key, value in row.items()}
                for row in csv.DictReader(file)
            }


def render_demo(root: Path, seed: int = 0) -> None:
    """Render every clip and list under `root`; does nothing where that is done. 120 clips, half a minute."""
    truth = root / "ground_truth.csv"
    if truth.exists():
        return
    from rich.progress import track

    marker = root / MARKER
    if root.exists() and any(root.iterdir()) and not marker.exists():
        raise DatasetError(
            f"{root.resolve()} holds something else than the demo dataset. Did you forget DATASET=<name>?"
        )
    root.mkdir(parents=True, exist_ok=True)
    marker.touch()
    lists = root / "ucfTrainTestlist"
    shutil.rmtree(lists, ignore_errors=True)
    lists.mkdir(parents=True)
    (lists / "classInd.txt").write_text(
        "".join(f"{i} {name}\n" for i, name in enumerate(ACTIONS, 1))
    )
    rows = []
    clips = [
        (name, g, c)
        for name in ACTIONS
        for g in range(1, NUM_GROUPS + 1)
        for c in range(1, CLIPS_PER_GROUP + 1)
    ]
    for name, group, clip in track(clips, description="Rendering the demo dataset"):
        stem = f"v_{name}_g{group:02d}_c{clip:02d}"
        frames, window, region = render_clip(
            ACTIONS[name],
            scene_seed=seed * 1000 + group,
            clip_seed=(seed, group, clip, *name.encode()),
        )
        with atomic(root / "UCF-101" / name / f"{stem}.avi") as path:
            write_video(path, frames)
        rows.append([f"{name}/{stem}", *window, *region])
    for split, test_groups in TEST_GROUPS.items():
        sides = {"train": [], "test": []}
        for name, group, clip in clips:
            label = list(ACTIONS).index(name) + 1
            line = f"{name}/v_{name}_g{group:02d}_c{clip:02d}.avi"
            sides["test" if group in test_groups else "train"].append((line, label))
        (lists / f"trainlist{split:02d}.txt").write_text(
            "".join(f"{line} {label}\n" for line, label in sides["train"])
        )
        (lists / f"testlist{split:02d}.txt").write_text(
            "".join(f"{line}\n" for line, _ in sides["test"])
        )
    with atomic(truth) as path, open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["id", "first_frame", "last_frame", "x_px", "y_px", "width_px", "height_px"]
        )
        writer.writerows(rows)


def render_clip(action: Action, scene_seed: int, clip_seed: tuple[int, ...]):
    """Frames uint8 (T, 240, 320, 3) RGB, the action's (first, last) frame, and its (x, y, width, height) px."""
    generator = np.random.default_rng(clip_seed)
    background = _texture(np.random.default_rng(scene_seed))
    num_frames = int(generator.integers(60, 85))
    window_frames = int(num_frames * generator.uniform(0.25, 0.34))
    first = int(generator.integers(0, num_frames - window_frames + 1))
    radius, reach = generator.uniform(24, 30), generator.uniform(26, 34)
    margin = radius + reach + 1
    centre = generator.uniform((margin, margin), (WIDTH_PX - margin, HEIGHT_PX - margin))
    distractors = [_Distractor(generator) for _ in range(3)]
    phase, colour = generator.uniform(0, 2 * math.pi), _jitter(action.colour, generator)

    frames = np.empty((num_frames, HEIGHT_PX, WIDTH_PX, 3), np.uint8)
    for t in range(num_frames):
        frames[t] = background
        for distractor in distractors:
            distractor.draw(frames[t], t)
        if first <= t < first + window_frames:
            _draw_actor(
                frames[t],
                action,
                centre,
                radius,
                reach,
                phase + 2 * math.pi * t / 12,
                colour,
            )
    x, y = np.floor(centre - margin).astype(int).tolist()
    side = math.ceil(2 * margin) + 2  # shapes are drawn at rounded positions
    return frames, (first, first + window_frames - 1), (x, y, side, side)


def write_video(
    path: Path,
    frames: np.ndarray,
    codec: str = "mpeg4",
    pixel_format: str = "yuv420p",
    options: dict | None = None,
) -> None:
    """Encode uint8 (T, H, W, 3) RGB at 25 fps; `ffv1` with `bgr0` is lossless (the tests use it)."""
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=FPS)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.bit_rate = pixel_format, 1_500_000
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def _draw_actor(
    frame, action: Action, centre, radius: float, reach: float, angle: float, colour
) -> None:
    """One frame of the action; `angle` runs through 2 pi every 12 frames."""
    swing = reach * math.sin(angle)
    dx, dy = {
        "vertical": (0, swing),
        "horizontal": (swing, 0),
        "circle": (reach * math.cos(angle), swing),
        "shake": (swing * 0.7, swing * 0.7),
    }.get(action.motion, (0, 0))
    size = radius * (1 + 0.5 * math.sin(angle)) if action.motion == "pulse" else radius
    turn = angle if action.motion == "spin" else 0.0
    position = (centre[0] + dx, centre[1] + dy)
    if action.corners == 0:
        cv2.circle(frame, _point(position), round(size), colour, -1, cv2.LINE_AA)
    else:
        cv2.fillPoly(frame, [_star(position, size, action.corners, turn)], colour, cv2.LINE_AA)


def _star(centre, radius: float, corners: int, turn: float) -> np.ndarray:
    """Corner points; from 8 corners on, every second one lies nearer to the centre."""
    angles = turn + np.arange(corners) * 2 * np.pi / corners
    radii = np.where((np.arange(corners) % 2 == 1) & (corners >= 8), 0.45 * radius, radius)
    return (
        np.stack([centre[0] + radii * np.cos(angles), centre[1] + radii * np.sin(angles)], 1)
        .round()
        .astype(np.int32)
    )


class _Distractor:
    """A grey ellipse that drifts through the whole clip."""

    def __init__(self, generator: np.random.Generator):
        self.start = generator.uniform((0, 0), (WIDTH_PX, HEIGHT_PX))
        self.velocity = generator.uniform(-3, 3, 2)  # px per frame
        self.axes = tuple(int(v) for v in generator.uniform(12, 30, 2))
        self.colour = (int(generator.uniform(60, 200)),) * 3

    def draw(self, frame: np.ndarray, t: int) -> None:
        position = np.mod(self.start + self.velocity * t, (WIDTH_PX, HEIGHT_PX))
        cv2.ellipse(frame, _point(position), self.axes, 0, 0, 360, self.colour, -1, cv2.LINE_AA)


def _texture(generator: np.random.Generator) -> np.ndarray:
    coarse = generator.uniform(70, 170, (6, 8, 3)).astype(np.float32)
    fine = generator.normal(0, 9, (HEIGHT_PX, WIDTH_PX, 1)).astype(np.float32)
    smooth = cv2.resize(coarse, (WIDTH_PX, HEIGHT_PX), interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth + cv2.GaussianBlur(fine, (3, 3), 0)[..., None], 0, 255).astype(np.uint8)


def _jitter(colour, generator: np.random.Generator) -> tuple[int, ...]:
    return tuple(int(v) for v in np.clip(np.array(colour) + generator.uniform(-20, 20, 3), 0, 255))


def _point(position) -> tuple[int, int]:
    return round(float(position[0])), round(float(position[1]))
