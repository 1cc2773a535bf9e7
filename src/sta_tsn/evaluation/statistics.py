"""Which differences are real.

Here are the interval of an accuracy, and that of the difference between two models on the same
videos. Clips cut from one source video are alike: 268 test clips of JHMDB come from 119 sources. So
all methods count sources.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import bootstrap, norm, permutation_test

NUM_DRAWS = 10_000


class Difference(NamedTuple):
    """Hold a difference of second minus first; shares, not percent.

    Args:
        mean: over the videos.
        low: lower end of its 95 % interval.
        high: upper end of it.
        p: two-sided, of no difference.
    """

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
    """Return Wilson's interval of an accuracy, (low, high) in [0, 1].

    The number of videos in his formula is `effective_number`.

    Args:
        correct: (V,) one entry per video: bool, or the share of seeds that were right.
        sources: (V,) name of the source video of each.
        confidence: that the interval holds the true accuracy, 0 to 1.
    """
    share = float(np.mean(correct))
    number = effective_number(correct, sources)
    z = norm.ppf(0.5 + confidence / 2)
    middle = share + z**2 / (2 * number)
    variance = share * (1 - share) / number
    half = z * np.sqrt(variance + z**2 / (4 * number**2))
    shrink = 1 + z**2 / number
    return float((middle - half) / shrink), float((middle + half) / shrink)


def effective_number(correct: np.ndarray, sources: Sequence) -> float:
    """Return how many videos of a source each would give a mean as sure as these.

    That is V over Kish's design effect: at least 1, at most V, which it is where every video has
    its own source. Where all answers are equal it is the number of sources.

    Args:
        correct: (V,) as for `accuracy_interval`.
        sources: (V,) name of the source video of each.
    """
    _, source = np.unique(sources, return_inverse=True)
    deviation = np.asarray(correct, float) - np.mean(correct)
    num_videos = len(source)
    num_sources = source.max() + 1
    if num_sources == 1 or not deviation.any():
        return float(num_sources)
    between = np.square(np.bincount(source, deviation)).sum() * num_sources / (num_sources - 1)
    alone = np.square(deviation).sum() * num_videos / (num_videos - 1)
    return float(np.clip(num_videos * alone / max(between, alone), 1, num_videos))


def paired_difference(
    first: np.ndarray,
    second: np.ndarray,
    sources: Sequence,
    num_draws: int = NUM_DRAWS,
    seed: int = 0,
) -> Difference:
    """Return how much better the second model is on the same videos.

    The interval is a bootstrap's that draws source videos with all their clips, both models'
    answers together. The p is that of exchanging the models' answers source by source (exact up to
    13 sources): a bootstrap's own p is far too small where only a few sources differ, and all in
    one direction. Of a single source nothing is known: -1 to 1, p = 1.

    Args:
        first: (V,) whether, or in which share of seeds, the first model was right on each video.
        second: (V,) the same of the second model.
        sources: (V,) name of the source video of each.
        num_draws: of the bootstrap and of the exchange.
        seed: of both.
    """
    gains = np.asarray(second, float) - np.asarray(first, float)
    _, source = np.unique(sources, return_inverse=True)
    gained = np.bincount(source, gains)
    clips = np.bincount(source)
    mean = float(gains.mean())
    if len(clips) == 1:
        return Difference(mean, low=-1.0, high=1.0, p=1.0)
    draws = {"n_resamples": num_draws, "batch": 1000, "rng": seed}
    drawn = bootstrap((gained, clips), _mean_gain, paired=True, method="percentile", **draws)
    interval = drawn.confidence_interval
    exchanged = permutation_test((gained,), np.sum, permutation_type="samples", **draws)
    return Difference(mean, float(interval.low), float(interval.high), float(exchanged.pvalue))


def _mean_gain(gained: np.ndarray, clips: np.ndarray, axis: int) -> np.ndarray:
    """Return the share gained (...) in each of many draws of S sources.

    Args:
        gained: (..., S) clips gained, sources along `axis`.
        clips: (..., S) clips there.
        axis: of the sources.
    """
    return gained.sum(axis) / clips.sum(axis)
