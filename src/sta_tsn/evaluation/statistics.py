"""Which differences are real: intervals of an accuracy, paired bootstrap between two models on the same videos."""

from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest

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


def accuracy_interval(correct: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of an accuracy, (low, high) in [0, 1].

    Args:
        correct: (V,) one entry per video: bool, or the share of seeds that were right (the interval is then that of V videos).
    """
    found = binomtest(round(float(np.sum(correct))), len(correct)).proportion_ci(confidence, method="wilson")
    return float(found.low), float(found.high)


def paired_bootstrap(first: np.ndarray, second: np.ndarray, num_draws: int = NUM_DRAWS, seed: int = 0) -> Difference:
    """Resamples videos, both models' answers together.

    Args:
        first, second: (V,) whether (or in which share of seeds) each model was right on the same V videos.
    """
    gains = np.asarray(second, float) - np.asarray(first, float)
    generator = np.random.default_rng(seed)
    videos = len(gains)
    means = np.concatenate([gains[generator.integers(videos, size=(1000, videos))].mean(1) for _ in range(-(-num_draws // 1000))])
    below, above = (means <= 0).sum() + 1, (means >= 0).sum() + 1  # + 1: no p of zero from finitely many draws
    low, high = np.quantile(means, [0.025, 0.975])
    return Difference(float(gains.mean()), float(low), float(high), float(min(1.0, 2 * min(below, above) / (len(means) + 1))))
