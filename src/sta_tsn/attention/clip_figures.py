"""Clips to look at in a notebook: frames in rows, and videos that play in the page."""

import base64
import html
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from matplotlib.figure import Figure

from sta_tsn.datasets.demo import FPS, write_video

HEIGHT_PX = 160
MAX_FRAMES = 150


def frames_figure(rows: dict[str, np.ndarray], titles: list[str] | None = None) -> Figure:
    """Draw one row of pictures a name.

    Args:
        rows: uint8 (n, H, W, 3) RGB each.
        titles: n, above the first row.
    """
    num_columns = max(len(frames) for frames in rows.values())
    height, width = next(iter(rows.values())).shape[1:3]
    size = (1.4 * num_columns, 1.4 * len(rows) * height / width + 0.4)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(rows), num_columns, squeeze=False)
    for (name, frames), line in zip(rows.items(), panels, strict=True):
        for axes in line:
            axes.set(xticks=[], yticks=[], frame_on=False)
        for frame, axes in zip(frames, line, strict=False):
            axes.imshow(frame)
        line[0].set_ylabel(name, fontsize=8)
    for title, axes in zip(titles or [], panels[0], strict=False):
        axes.set_title(title, fontsize=8)
    return figure


def player(frames: np.ndarray, title: str) -> str:
    """Return HTML of a small H.264 video that plays in the page, again and again.

    Of long videos every k-th frame is shown.

    Args:
        frames: uint8 (T, H, W, 3) RGB.
        title: shown below.
    """
    every = -(-len(frames) // MAX_FRAMES)
    frames = frames[::every]
    width = 2 * round(frames.shape[2] * HEIGHT_PX / frames.shape[1] / 2)  # H.264 wants even numbers
    size = (width, HEIGHT_PX)
    small = np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames])
    with TemporaryDirectory() as folder:
        path = Path(folder, "clip.mp4")
        write_video(path, small, codec="libx264")
        content = base64.b64encode(path.read_bytes()).decode()
    return (
        # Names of videos have no spaces: without a break anywhere they run over their neighbour's.
        f'<figure style="display:inline-block;vertical-align:top;margin:4px;width:{width}px">'
        f'<video width="{width}" height="{HEIGHT_PX}" autoplay loop muted controls '
        f'src="data:video/mp4;base64,{content}"></video>'
        f'<figcaption style="font-size:80%;overflow-wrap:anywhere">{html.escape(title)}, '
        f"{len(frames)} frames at {FPS} a second</figcaption></figure>"
    )
