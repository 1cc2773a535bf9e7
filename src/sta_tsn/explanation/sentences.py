"""What is seen in the attention of a video, in plain sentences."""

import numpy as np

from sta_tsn.explanation.explained_video import ExplainedStream

# Effective share, exp(entropy) over the number of choices, from which attention says nothing: 0.95
# is a standard deviation of about a third of the mean.
CLOSE_TO_UNIFORM = 0.95
QUARTER = 0.25
SAME = 0.05  # probabilities that differ by less are about the same
ROWS = ("top", "middle", "bottom")
COLUMNS = ("left", "centre", "right")


def effective_share(weights: np.ndarray) -> float:
    """Return exp(entropy) / n of weights (..., n) that sum to 1, the mean over all rows.

    1 is uniform; 1 / n is all weight on one of n.
    """
    weights = weights.astype(np.float64)
    logarithms = np.log(np.maximum(weights, 1e-30))
    entropy = -(weights * logarithms).sum(-1)
    return float((np.exp(entropy) / weights.shape[-1]).mean())


def when_sentence(stream: ExplainedStream, times_sec: list[float], answer: int) -> str:
    """Return which frames count.

    Args:
        stream: of one network.
        times_sec: of all frames of the video.
        answer: index of the class that the page names.
    """
    beta = stream.beta
    if beta is None:
        return _when_each_alone(stream, times_sec, answer)
    num_frames = beta.shape[1]
    if num_frames == 1:
        return "It sees one frame a segment, so there is nothing for temporal attention to choose."
    uniform = 1 / num_frames
    if effective_share(beta) >= CLOSE_TO_UNIFORM:
        return (
            "Temporal attention is close to uniform here: every frame of a segment counts about "
            f"the same (β {beta.min():.3f} to {beta.max():.3f}, uniform {uniform:.3f})."
        )
    segment, frame = np.unravel_index(beta.argmax(), beta.shape)
    time_sec = times_sec[stream.indices[segment, frame]]
    weight = beta[segment, frame]
    return (
        f"The moment at {time_sec:.2f} s counts most: its β is {weight:.2f}, "
        f"{weight / uniform:.1f} times what uniform attention would give it ({uniform:.2f})."
    )


def where_sentence(stream: ExplainedStream) -> str:
    """Return which part of the picture counts."""
    if stream.alpha is None:
        return "This network has no spatial attention: it does not say where it looks."
    alpha = stream.alpha[0].flatten(0, 1).numpy()  # (N * T, h, w)
    cells = alpha.reshape(len(alpha), -1)
    if effective_share(cells) >= CLOSE_TO_UNIFORM:
        return "Spatial attention is close to uniform here: it says nothing about where to look."
    weights = np.full(len(cells), 1 / len(cells))
    if stream.beta is not None:
        weights = stream.beta.flatten() / stream.beta.sum()
    num_top = max(1, round(QUARTER * cells.shape[1]))
    in_quarter = np.sort(cells, 1)[:, -num_top:].sum(1).mean()
    place = _place((alpha * weights[:, None, None]).sum(0))
    return (
        f"It looks most at the {place} of the picture: the quarter of the area that it attends to "
        f"most holds {100 * in_quarter:.0f} % of its attention."
    )


def _when_each_alone(stream: ExplainedStream, times_sec: list[float], answer: int) -> str:
    shares = stream.frame_probabilities[..., answer]
    least = shares.min()
    most = shares.max()
    begin = "This network has no temporal attention: every frame counts the same."
    if most - least < SAME:
        return (
            f"{begin} Each alone gives the answer about the same probability ({100 * most:.0f} %)."
        )
    segment, frame = np.unravel_index(shares.argmax(), shares.shape)
    time_sec = times_sec[stream.indices[segment, frame]]
    return (
        f"{begin} Alone, the frame at {time_sec:.2f} s is surest of the answer "
        f"({100 * most:.0f} %), the least sure one gives it {100 * least:.0f} %."
    )


def _place(weights: np.ndarray) -> str:
    """Return the third of the height and of the width in which a map (h, w) is largest."""
    height, width = weights.shape
    row, column = np.unravel_index(weights.argmax(), weights.shape)
    vertical = ROWS[int(3 * (row + 0.5) / height)]
    horizontal = COLUMNS[int(3 * (column + 0.5) / width)]
    if (vertical, horizontal) == ("middle", "centre"):
        return "middle"
    if vertical == "middle":
        return horizontal
    if horizontal == "centre":
        return vertical
    return f"{vertical} {horizontal}"
