"""The demo dataset: rendered here, seeded, real .avi files in UCF101's layout, no download.

Six classes, 21 groups each (a group is one scene), three clips a group: 378 clips, of which each of
the three official splits tests 126. Frames are 160x120 at 25 fps, 40 to 56 of them a clip.

An actor appears for an eighth to a third of the clip, in a small region. It alone always tells the
class; drifting grey shapes distract all the time, and so does the setting: each class has a
background colour, as grass goes with football, but half of its scenes have that of another class.
A network that judges by the setting is wrong there. How much a network sees of the actor beside the
setting is what tells the rows of Table 2 apart: spatial attention finds the actor in the frame,
more segments find more frames with it, and temporal attention leaves out the frames without it.

BallBounce and BallSwing show the same actor and differ in motion alone, so that flow has something
to add. A single RGB frame shows their direction only by the streak that a fast ball leaves.

ground_truth.csv records the action's window and region of every clip: id, first and last frame of
the action (0-based, inclusive), region x, y, width, height in pixels.
"""

import csv
import math
import shutil
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path

import av
import cv2
import numpy as np

from sta_tsn.artefacts import atomic
from sta_tsn.datasets.records import VideoRecord
from sta_tsn.datasets.ucf101 import UCF101
from sta_tsn.errors import DatasetError

WIDTH_PX = 160
HEIGHT_PX = 120
FPS = 25
PERIOD_FRAMES = 12  # of every actor's motion
STREAK_FRAMES = 2  # that a ball's streak reaches back
MARKER = "rendered_by_sta_tsn"  # nothing is ever written into a folder without it
SCENES = "5"  # what the marker says; clips of other scenes are rendered anew
NUM_GROUPS = 21
CLIPS_PER_GROUP = 3
TEST_GROUPS = {1: range(1, 8), 2: range(8, 15), 3: range(15, 22)}
NUM_UNRELATED = 8
CENTRE_MARGIN = 0.075  # of width and height, kept free around every region: crops seldom lose it
ACTION_SHARE = (0.12, 0.3)  # smallest and largest, of the clip's frames
NUM_DISTRACTORS = 3
SETTING_SHARE = 0.45  # of the background's colour; the rest is the scene's own

Colour = tuple[int, ...]  # RGB


@dataclass(frozen=True)
class Action:
    """What an actor looks like and how it moves.

    Args:
        corners: 0 for a disc, else of a star polygon.
        colour: of the actor.
        motion: see `_offset` and `_draw_actor`.
        radius_px: its smallest and largest radius.
        reach_px: how far it moves from its middle, smallest and largest.
    """

    corners: int
    colour: Colour
    motion: str
    radius_px: tuple[float, float] = (6, 7.3)
    reach_px: tuple[float, float] = (6.7, 8.7)


BALL_RED = (230, 60, 40)
BALL_RADIUS_PX = (3.7, 4.3)
BALL_REACH_PX = (14.7, 17.3)  # far and fast, so that the streak is long
ACTIONS = {
    "BallBounce": Action(0, BALL_RED, "vertical", BALL_RADIUS_PX, BALL_REACH_PX),
    "BallSwing": Action(0, BALL_RED, "horizontal", BALL_RADIUS_PX, BALL_REACH_PX),
    "BoxOrbit": Action(4, (60, 90, 230), "circle"),
    "CrossSpin": Action(8, (60, 200, 70), "spin"),
    "StarPulse": Action(10, (230, 210, 50), "pulse"),
    "TriangleShake": Action(3, (200, 70, 210), "shake"),
}
SETTINGS = {  # colours of the background that go with a class
    "BallBounce": (160, 110, 80),
    "BallSwing": (80, 140, 150),
    "BoxOrbit": (130, 130, 90),
    "CrossSpin": (100, 90, 150),
    "StarPulse": (150, 90, 120),
    "TriangleShake": (90, 145, 95),
}
UNRELATED = (  # actors of no class
    Action(5, (80, 210, 220), "circle"),
    Action(6, (240, 240, 240), "shake"),
)


class Demo(UCF101):
    """UCF101's layout under `root`, rendered on first use. See `VideoDataset`."""

    archives = ()
    published_classes = 6
    published_videos = 378
    published_splits = ((252, 126),) * 3

    def __init__(self, root: str = "data/demo"):
        render_demo(Path(root).expanduser())
        super().__init__(root)

    def key_frames(self, record: VideoRecord) -> np.ndarray:
        """Return bool (num_frames,), True in the window of the action."""
        frames = np.arange(record.num_frames)
        truth = self._ground_truth[record.id]
        return (frames >= truth["first_frame"]) & (frames <= truth["last_frame"])

    def actor_mask(self, record: VideoRecord) -> np.ndarray:
        """Return bool (num_frames, 120, 160): the action's rectangle, empty outside its window."""
        truth = self._ground_truth[record.id]
        top = max(0, truth["y_px"])
        bottom = truth["y_px"] + truth["height_px"]
        left = max(0, truth["x_px"])
        right = truth["x_px"] + truth["width_px"]
        mask = np.zeros((record.num_frames, HEIGHT_PX, WIDTH_PX), bool)
        mask[self.key_frames(record), top:bottom, left:right] = True
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
    """Render every clip and list under `root`, in a quarter of a minute.

    Does nothing where that is done. Clips of an earlier version of the demo are replaced.

    Raises:
        DatasetError: `root` holds files that are not the demo's.
    """
    truth = root / "ground_truth.csv"
    marker = root / MARKER
    outdated = marker.exists() and marker.read_text() != SCENES
    if truth.exists() and not outdated:
        return
    from rich.progress import track

    if root.exists() and any(root.iterdir()) and not marker.exists():
        raise DatasetError(
            f"{root.resolve()} holds something else than the demo dataset. "
            "Is another dataset meant?"
        )
    if outdated:
        truth.unlink(missing_ok=True)
        for folder in ("UCF-101", "unrelated"):
            shutil.rmtree(root / folder, ignore_errors=True)
    root.mkdir(parents=True, exist_ok=True)
    marker.write_text(SCENES)
    rows = []
    for name, group, clip in track(_clips(), description="Rendering the demo dataset"):
        frames, window, region = render_clip(
            ACTIONS[name],
            scene_seed=seed * 1000 + group,
            clip_seed=(seed, group, clip, *name.encode()),
            setting=SETTINGS[class_of_setting(name, group)],
        )
        stem = _stem(name, group, clip)
        with atomic(root / "UCF-101" / name / f"{stem}.avi") as path:
            write_video(path, frames)
        rows.append([f"{name}/{stem}", *window, *region])
    _write_lists(root / "ucfTrainTestlist")
    with atomic(truth) as path, open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["id", "first_frame", "last_frame", "x_px", "y_px", "width_px", "height_px"]
        )
        writer.writerows(rows)


def class_of_setting(name: str, group: int) -> str:
    """Return the class whose setting a scene has: its own in odd groups, others in turn in even."""
    if group % 2 == 1:
        return name
    names = list(ACTIONS)
    others = len(names) - 1
    steps = 1 + (group // 2 - 1) % others
    return names[(names.index(name) + steps) % len(names)]


def _clips() -> list[tuple[str, int, int]]:
    """Return class, group and clip number of every clip."""
    groups = range(1, NUM_GROUPS + 1)
    clips = range(1, CLIPS_PER_GROUP + 1)
    return list(product(ACTIONS, groups, clips))


def _stem(name: str, group: int, clip: int) -> str:
    """Return a clip's file name without its suffix, as UCF101 writes it."""
    return f"v_{name}_g{group:02d}_c{clip:02d}"


def _write_lists(folder: Path) -> None:
    """Write the class index and the train and test lists of the three splits, as UCF101 does."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    labels = {name: label for label, name in enumerate(ACTIONS, 1)}
    index = [f"{label} {name}\n" for name, label in labels.items()]
    (folder / "classInd.txt").write_text("".join(index))
    for split, test_groups in TEST_GROUPS.items():
        train = []
        test = []
        for name, group, clip in _clips():
            path = f"{name}/{_stem(name, group, clip)}.avi"
            if group in test_groups:
                test.append(f"{path}\n")
            else:
                train.append(f"{path} {labels[name]}\n")
        (folder / f"trainlist{split:02d}.txt").write_text("".join(train))
        (folder / f"testlist{split:02d}.txt").write_text("".join(test))


def render_clip(
    action: Action, scene_seed: int, clip_seed: tuple[int, ...], setting: Colour | None = None
) -> tuple[np.ndarray, tuple[int, int], tuple[int, int, int, int]]:
    """Render one clip.

    Args:
        action: of the actor.
        scene_seed: of the background.
        clip_seed: of everything else.
        setting: colour that the background tends to; None: its own colours alone.

    Returns:
        Frames uint8 (T, 120, 160, 3) RGB, the action's (first, last) frame, and its region
        (x, y, width, height) in pixels.
    """
    generator = np.random.default_rng(clip_seed)
    background = _texture(np.random.default_rng(scene_seed), setting)
    num_frames = int(generator.integers(40, 57))
    window_frames = round(num_frames * generator.uniform(*ACTION_SHARE))
    first = int(generator.integers(0, num_frames - window_frames + 1))
    radius = generator.uniform(*action.radius_px)
    reach = generator.uniform(*action.reach_px)
    margin = radius + reach + 1
    nearest = margin + CENTRE_MARGIN * np.array((WIDTH_PX, HEIGHT_PX))
    farthest = np.array((WIDTH_PX, HEIGHT_PX)) - nearest
    centre = generator.uniform(nearest, farthest)
    distractors = [_Distractor(generator) for _ in range(NUM_DISTRACTORS)]
    phase = generator.uniform(0, 2 * math.pi)
    colour = _jitter(action.colour, generator)

    frames = np.empty((num_frames, HEIGHT_PX, WIDTH_PX, 3), np.uint8)
    for t in range(num_frames):
        frames[t] = background
        for distractor in distractors:
            distractor.draw(frames[t], t)
        if first <= t < first + window_frames:
            angle = phase + 2 * math.pi * t / PERIOD_FRAMES
            _draw_actor(frames[t], action, centre, radius, reach, angle, colour)
    x, y = np.floor(centre - margin).astype(int).tolist()
    side = math.ceil(2 * margin) + 2  # shapes are drawn at rounded positions
    return frames, (first, first + window_frames - 1), (x, y, side, side)


def render_still(action: Action, generator: np.random.Generator) -> np.ndarray:
    """Render one frame of an action in the middle of a scene that has no class's setting.

    Its colour is the action's own. Frames like this are what the demo's first weights are made of.

    Args:
        action: of the actor.
        generator: of everything else.

    Returns:
        uint8 (120, 160, 3) RGB.
    """
    frame = _texture(generator, None)
    for _ in range(NUM_DISTRACTORS):
        _Distractor(generator).draw(frame, t=0)
    radius = generator.uniform(*action.radius_px)
    reach = generator.uniform(*action.reach_px)
    angle = generator.uniform(0, 2 * math.pi)
    centre = np.array((WIDTH_PX / 2, HEIGHT_PX / 2))
    _draw_actor(frame, action, centre, radius, reach, angle, action.colour)
    return frame


def write_video(
    path: Path,
    frames: np.ndarray,
    codec: str = "mpeg4",
    pixel_format: str = "yuv420p",
    options: dict | None = None,
) -> None:
    """Encode uint8 (T, H, W, 3) RGB at 25 fps; `ffv1` with `bgr0` is lossless (tests use it)."""
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=FPS)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixel_format
        stream.bit_rate = 1_500_000
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def _offset(motion: str, reach: float, angle: float) -> np.ndarray:
    """Return an actor's (x, y) in pixels from its middle."""
    swing = reach * math.sin(angle)
    if motion == "vertical":
        return np.array((0.0, swing))
    if motion == "horizontal":
        return np.array((swing, 0.0))
    if motion == "circle":
        return np.array((reach * math.cos(angle), swing))
    if motion == "shake":
        return np.array((0.7 * swing, 0.7 * swing))
    return np.zeros(2)


def _draw_actor(
    frame: np.ndarray,
    action: Action,
    centre: np.ndarray,
    radius: float,
    reach: float,
    angle: float,
    colour: Colour,
) -> None:
    """Draw one frame of the action; `angle` runs through 2 pi in a period.

    A disc is drawn as a streak from where it was `STREAK_FRAMES` ago to where it is.
    """
    position = centre + _offset(action.motion, reach, angle)
    if action.corners == 0:
        thickness_px = 2 * round(radius)
        for _ in range(STREAK_FRAMES):
            angle -= 2 * math.pi / PERIOD_FRAMES
            before = centre + _offset(action.motion, reach, angle)
            cv2.line(frame, _point(before), _point(position), colour, thickness_px, cv2.LINE_AA)
            position = before
        return
    size = radius
    if action.motion == "pulse":
        size = radius * (1 + 0.5 * math.sin(angle))
    turn = angle if action.motion == "spin" else 0.0
    cv2.fillPoly(frame, [_star(position, size, action.corners, turn)], colour, cv2.LINE_AA)


def _star(centre: np.ndarray, radius: float, corners: int, turn: float) -> np.ndarray:
    """Return corner points int32 (corners, 2); from 8 on, every second one lies farther inside."""
    number = np.arange(corners)
    angles = turn + number * 2 * np.pi / corners
    radii = np.full(corners, radius)
    if corners >= 8:
        radii[1::2] *= 0.45
    columns = centre[0] + radii * np.cos(angles)
    rows = centre[1] + radii * np.sin(angles)
    return np.stack([columns, rows], 1).round().astype(np.int32)


class _Distractor:
    """A grey ellipse that drifts through the whole clip."""

    def __init__(self, generator: np.random.Generator):
        self.start = generator.uniform((0, 0), (WIDTH_PX, HEIGHT_PX))
        self.velocity = generator.uniform(-1.5, 1.5, 2)  # px per frame
        self.axes = tuple(int(v) for v in generator.uniform(6, 15, 2))
        self.colour = (int(generator.uniform(60, 200)),) * 3

    def draw(self, frame: np.ndarray, t: int) -> None:
        position = np.mod(self.start + self.velocity * t, (WIDTH_PX, HEIGHT_PX))
        cv2.ellipse(frame, _point(position), self.axes, 0, 0, 360, self.colour, -1, cv2.LINE_AA)


def _texture(generator: np.random.Generator, setting: Colour | None) -> np.ndarray:
    """Return a background uint8 (120, 160, 3): smooth colours under fine noise."""
    coarse = generator.uniform(70, 170, (6, 8, 3)).astype(np.float32)
    if setting is not None:
        own = (1 - SETTING_SHARE) * coarse
        coarse = own + SETTING_SHARE * np.array(setting, np.float32)
    fine = generator.normal(0, 9, (HEIGHT_PX, WIDTH_PX, 1)).astype(np.float32)
    smooth = cv2.resize(coarse, (WIDTH_PX, HEIGHT_PX), interpolation=cv2.INTER_CUBIC)
    noise = cv2.GaussianBlur(fine, (3, 3), 0)[..., None]
    return np.clip(smooth + noise, 0, 255).astype(np.uint8)


def _jitter(colour: Colour, generator: np.random.Generator) -> Colour:
    varied = np.clip(np.array(colour) + generator.uniform(-20, 20, 3), 0, 255)
    return tuple(int(value) for value in varied)


def _point(position: np.ndarray) -> tuple[int, int]:
    return round(float(position[0])), round(float(position[1]))
