"""A stream's frames as bars along the time of the video."""

from dataclasses import dataclass
from itertools import groupby, pairwise

from sta_tsn.explanation.explained_video import ExplainedStream


@dataclass(frozen=True)
class Bar:
    """One frame that the network saw.

    segment, frame: its number in the video, both from 0. time_sec: when it is shown. start_sec,
    end_sec: the part of the time axis that is its own. value: beta, or the probability of the
    answer by this frame alone where the network has no beta.
    """

    segment: int
    frame: int
    time_sec: float
    start_sec: float
    end_sec: float
    value: float


def bars_of(
    stream: ExplainedStream, times_sec: list[float], duration_sec: float, answer: int
) -> list[Bar]:
    """Return the frames in order; their parts of the axis cover it.

    A frame's part reaches half way to its neighbours. A frame that was seen several times, as
    those of short videos are, shares it among them.

    Args:
        stream: of one network.
        times_sec: of all frames of the video.
        duration_sec: of the video.
        answer: index of the class that the page names.
    """
    indices = stream.indices
    values = stream.beta if stream.beta is not None else stream.frame_probabilities[..., answer]
    num_frames = indices.shape[1]
    seen = list(enumerate(indices.flatten().tolist()))
    groups = [list(group) for _, group in groupby(seen, key=lambda one: one[1])]
    times = [times_sec[group[0][1]] for group in groups]
    middles = [(early + late) / 2 for early, late in pairwise(times)]
    edges = [0.0, *middles, duration_sec]
    bars = []
    for number, group in enumerate(groups):
        width = (edges[number + 1] - edges[number]) / len(group)
        for turn, (position, frame) in enumerate(group):
            start = edges[number] + turn * width
            value = float(values.flat[position])
            segment = position // num_frames
            bars.append(Bar(segment, frame, times[number], start, start + width, value))
    return bars


def strongest_of_segments(bars: list[Bar], most: int = 3) -> list[int]:
    """Return the numbers of each segment's strongest bar; of many segments the strongest ones."""
    strongest = {}
    for number, bar in enumerate(bars):
        if bar.segment not in strongest or bar.value > bars[strongest[bar.segment]].value:
            strongest[bar.segment] = number
    chosen = sorted(strongest.values(), key=lambda number: -bars[number].value)[:most]
    return sorted(chosen)
