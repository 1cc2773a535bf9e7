"""Which differences are real: intervals of an accuracy, and of the difference between two models on the same videos.

Clips cut from one source video are alike: 268 test clips of JHMDB come from 119 sources. All methods count sources.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import bootstrap, norm, permutation_test

NUM_DRAWS = 10_000


class Difference(NamedTuple):
    """Mean of second minus first, its 95 % interval, and the two-sided p of no difference; shares, not percent."""

    mean: float
    low: float
    high: float
    p: float

    @property
    def significant(self) -> bool:
        return self.p < 0.05


def accuracy_interval(
    correct: np.ndarray, sources: Sequence, confidence: float = 0.95
) -> tuple[float, float]:
    """Wilson's interval of an accuracy, (low, high) in [0, 1], for as many videos as are worth `effective_number`.

    Args:
        correct: (V,) one entry per video: bool, or the share of seeds that were right.
        sources: (V,) name of the source video of each.
    """
    share, number = float(np.mean(correct)), effective_number(correct, sources)
    z = norm.ppf(0.5 + confidence / 2)
    middle = share + z**2 / (2 * number)
    half = z * np.sqrt(share * (1 - share) / number + z**2 / (4 * number**2))
    return float((middle - half) / (1 + z**2 / number)), float(
        (middle + half) / (1 + z**2 / number)
    )


def effective_number(correct: np.ndarray, sources: Sequence) -> float:
    """How many videos of a source each would give a mean as sure as these: V over Kish's design effect.

    At least 1, at most V, which it is where every video has its own source. Where all answers are equal: the number of sources.
    """
    _, source = np.unique(sources, return_inverse=True)
    deviation, videos, number = (
        np.asarray(correct, float) - np.mean(correct),
        len(source),
        source.max() + 1,
    )
    if number == 1 or not deviation.any():
        return float(number)
    between = np.square(np.bincount(source, deviation)).sum() * number / (number - 1)
    alone = np.square(deviation).sum() * videos / (videos - 1)
    return float(np.clip(videos * alone / max(between, alone), 1, videos))


def paired_difference(
    first: np.ndarray,
    second: np.ndarray,
    sources: Sequence,
    num_draws: int = NUM_DRAWS,
    seed: int = 0,
) -> Difference:
    """How much better the second model is on the same videos.

    The interval is a bootstrap's that draws source videos with all their clips, both models' answers together; p is of
    exchanging the models' answers source by source (exact up to 13 sources): a bootstrap's own p is far too small where
    only a few sources differ, and all in one direction. Of a single source nothing is known: -1 to 1, p = 1.

    Args:
        first, second: (V,) whether (or in which share of seeds) each model was right on the same V videos.
        sources: (V,) name of the source video of each.
    """
    gains = np.asarray(second, float) - np.asarray(first, float)
    _, source = np.unique(sources, return_inverse=True)
    gained, clips = np.bincount(source, gains), np.bincount(source)
    if len(clips) == 1:
        return Difference(float(gains.mean()), -1.0, 1.0, 1.0)
    draws = {"n_resamples": num_draws, "batch": 1000, "rng": seed}
    drawn = bootstrap(
        (gained, clips), _mean_gain, paired=True, method="percentile", **draws
    ).confidence_interval
    exchanged = permutation_test((gained,), np.sum, permutation_type="samples", **draws)
    return Difference(
        float(gains.mean()), float(drawn.low), float(drawn.high), float(exchanged.pvalue)
    )


def _mean_gain(gained: np.ndarray, clips: np.ndarray, axis: int) -> np.ndarray:
    """Of draws of sources: clips gained (..., S) and clips there (..., S), S sources along `axis`, to shares (...)."""
    return gained.sum(axis) / clips.sum(axis)
