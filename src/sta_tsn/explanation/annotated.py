"""The annotated video: the answer above, attention over the frames, beta and the time below."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sta_tsn.explanation.bars import Bar
from sta_tsn.explanation.encoding import resized, shown_size
from sta_tsn.explanation.explained_video import ExplainedStream, ExplainedVideo
from sta_tsn.explanation.heat import Heat

DPI = 100
TITLE_PX = 44
CHART_PX = 96
NARROWEST_PX = 320  # a title has to fit
MARGIN = 0.02  # of the width, beside the chart
PLAYHEAD = (214, 40, 40)


class AnnotatedFrames:
    """Make the pictures of the annotated video, two streams side by side.

    Args:
        video: what is said of it.
        bars: of each stream.
        duration_sec: of the video.
        size: (width, height) of its frames.
    """

    def __init__(
        self,
        video: ExplainedVideo,
        bars: list[list[Bar]],
        duration_sec: float,
        size: tuple[int, int],
    ):
        width = max(NARROWEST_PX, size[0])
        self.size = shown_size(round(size[1] * width / size[0]), width, max(size[1], width))
        self.duration_sec = duration_sec
        self.heats = [None if one.alpha is None else Heat(one) for one in video.streams]
        self.title = _title(video, self.size[0] * len(video.streams))
        self.charts = [
            _chart(stream, own, duration_sec, self.size[0])
            for stream, own in zip(video.streams, bars, strict=True)
        ]

    def at(self, number: int, time_sec: float, picture: np.ndarray) -> np.ndarray:
        """Return frame `number`, uint8 (H, W, 3), with all that is said of it."""
        frame = resized(picture, self.size)
        panels = []
        for heat, chart in zip(self.heats, self.charts, strict=True):
            shown = frame if heat is None else heat.lay_over(frame, number)
            panels.append(np.concatenate([shown, self._with_playhead(chart, time_sec)]))
        return np.concatenate([self.title, np.concatenate(panels, axis=1)])

    def _with_playhead(self, chart: np.ndarray, time_sec: float) -> np.ndarray:
        share = MARGIN + (1 - 2 * MARGIN) * min(1.0, time_sec / self.duration_sec)
        column = min(chart.shape[1] - 2, round(share * chart.shape[1]))
        marked = chart.copy()
        marked[:, column : column + 2] = PLAYHEAD
        return marked


def _title(video: ExplainedVideo, width_px: int) -> np.ndarray:
    (label, probability), *others = video.best(2)
    figure = Figure((width_px / DPI, TITLE_PX / DPI), DPI, facecolor="white")
    text = f"{_short(label)}  {probability:.0%}"
    figure.text(MARGIN, 0.5, text, va="center", fontsize=12, weight="bold", parse_math=False)
    for other, chance in others:
        text = f"then {_short(other)}  {chance:.0%}"
        figure.text(1 - MARGIN, 0.5, text, va="center", ha="right", fontsize=8, parse_math=False)
    return _pixels(figure)


def _chart(
    stream: ExplainedStream, bars: list[Bar], duration_sec: float, width_px: int
) -> np.ndarray:
    figure = Figure((width_px / DPI, CHART_PX / DPI), DPI, facecolor="white")
    axes = figure.add_axes((MARGIN, 0.36, 1 - 2 * MARGIN, 0.42))
    starts = [bar.start_sec for bar in bars]
    widths = [0.85 * (bar.end_sec - bar.start_sec) for bar in bars]
    axes.bar(starts, [bar.value for bar in bars], widths, align="edge", color="#2f6f9f")
    axes.set(xlim=(0, duration_sec), yticks=[])
    axes.tick_params(axis="x", labelsize=7, length=2, pad=2)
    axes.spines[["top", "right", "left"]].set_visible(False)
    if stream.beta is not None:
        axes.axhline(1 / stream.beta.shape[1], color="grey", linewidth=0.8, linestyle="--")
    counted = "β" if stream.beta is not None else "answer's probability by each frame alone"
    figure.text(MARGIN, 0.84, f"{stream.modality}: {counted}", fontsize=7)
    figure.text(1 - MARGIN, 0.03, "seconds", fontsize=7, ha="right")
    return _pixels(figure)


def _pixels(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3].copy()
    plt.close(figure)
    return pixels


def _short(label: str, most: int = 28) -> str:
    return label if len(label) <= most else f"{label[: most - 1]}…"
