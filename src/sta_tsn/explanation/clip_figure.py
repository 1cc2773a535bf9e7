"""A video as one picture: its strongest crops at full size, and all frames in seconds."""

from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure

from sta_tsn.artefacts import atomic
from sta_tsn.attention.explain import crops_under_attention
from sta_tsn.explanation.bars import Bar, strongest_of_segments
from sta_tsn.explanation.explained_video import ExplainedStream

DPI = 100
GAP_PX = 10
TEXT_PX = 24
CHART_PX = 84
BELOW_PX = 34  # the chart: seconds
LEFT_PX = 58
NARROWEST_PX = 448
SMALLEST_TILE_PX = 128  # smaller crops, the demo's say, are enlarged: their captions need the room
JPEG_QUALITY = 88


def draw_clip(
    stream: ExplainedStream, bars: list[Bar], duration_sec: float, path: Path, num_moments: int
) -> None:
    """Write a JPEG: the strongest frames as the network saw them, beside each where it looked.

    Below them, along the time of the video, each frame's beta, or without one the probability that
    it alone gives the answer.

    Args:
        stream: of one network.
        bars: its frames.
        duration_sec: of the video.
        path: of the file.
        num_moments: how many frames, of different segments, are shown at most.
    """
    explained = stream.explained
    side = max(SMALLEST_TILE_PX, explained.pictures.shape[1])
    moments = strongest_of_segments(bars, num_moments)
    tiles = []
    for number in moments:
        tiles.append((explained.pictures[number], f"{bars[number].time_sec:.2f} s"))
        if stream.alpha is not None:
            under = crops_under_attention(explained)[number]
            tiles.append((under, "where it looks"))
    width = max(NARROWEST_PX, len(tiles) * (side + GAP_PX) - GAP_PX)
    height = BELOW_PX + CHART_PX + GAP_PX + TEXT_PX + side
    figure = Figure((width / DPI, height / DPI), DPI, facecolor="white")
    for place, (pixels, text) in enumerate(tiles):
        left = place * (side + GAP_PX)
        bottom = height - side
        figure.figimage(_enlarged(pixels, side), left, bottom)
        figure.text(left / width, (bottom - 7) / height, text, fontsize=9, va="top")
    box = (LEFT_PX, BELOW_PX, width - LEFT_PX - GAP_PX, CHART_PX)
    shares = [box[0] / width, box[1] / height, box[2] / width, box[3] / height]
    _draw_bars(figure.add_axes(shares), stream, bars, set(moments), duration_sec)
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=DPI, format="jpg", pil_kwargs={"quality": JPEG_QUALITY})


def _enlarged(pixels: np.ndarray, side: int) -> np.ndarray:
    """Return uint8 (side, side, 3): the square picture itself where it has that size."""
    if len(pixels) == side:
        return np.ascontiguousarray(pixels)
    return cv2.resize(pixels, (side, side), interpolation=cv2.INTER_CUBIC)


def _draw_bars(
    axes, stream: ExplainedStream, bars: list[Bar], shown: set[int], duration_sec: float
) -> None:
    starts = [bar.start_sec for bar in bars]
    widths = [0.85 * (bar.end_sec - bar.start_sec) for bar in bars]
    colours = ["#b3471d" if number in shown else "#2f6f9f" for number in range(len(bars))]
    axes.bar(starts, [bar.value for bar in bars], widths, align="edge", color=colours)
    axes.set(xlim=(0, duration_sec), ylabel="β")
    axes.set_xlabel("seconds", fontsize=8, labelpad=1)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    if stream.beta is None:
        axes.set(ylabel="alone", ylim=(0, 1))
    else:
        axes.axhline(1 / stream.beta.shape[1], color="grey", linewidth=0.8, linestyle="--")
