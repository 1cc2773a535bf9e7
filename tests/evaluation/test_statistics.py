"""Intervals of an accuracy and paired differences against cases worked out by hand."""

import numpy as np
import pytest

from sta_tsn.evaluation.statistics import accuracy_interval, effective_number, paired_difference

TEN_SOURCES_OF_THREE = np.repeat(np.arange(10), 3)


def test_wilsons_interval():
    """8 of 10, from Wilson's formula by hand: (0.4902, 0.9433)."""
    found = accuracy_interval(np.array([1] * 8 + [0] * 2), range(10))
    assert found == pytest.approx((0.4902, 0.9433), abs=1e-4)


def test_clips_of_one_source_that_agree_count_once():
    """Ten sources of three clips that are right or wrong together are worth ten videos."""
    alike = np.repeat([1, 1, 1, 1, 1, 1, 1, 1, 0, 0], 3)
    by_hand = 30 * (9 / 10) / 3 / (29 / 30)
    assert effective_number(alike, TEN_SOURCES_OF_THREE) == pytest.approx(by_hand, rel=1e-6)
    one_each = accuracy_interval(alike[::3], range(10))
    assert accuracy_interval(alike, TEN_SOURCES_OF_THREE) == pytest.approx(one_each, abs=0.02)


def test_clips_of_one_source_that_differ_as_strangers_do_count_each():
    mixed = np.tile([1, 1, 0], 10)
    assert effective_number(mixed, TEN_SOURCES_OF_THREE) == pytest.approx(30)


def test_where_all_answers_are_equal_sources_are_counted():
    assert effective_number(np.ones(30), TEN_SOURCES_OF_THREE) == 10


def test_a_single_source_is_one_video():
    assert effective_number(np.array([1, 0, 1]), ["a"] * 3) == 1


TEN_GAINED = np.concatenate([np.ones(10), np.zeros(30)])
NONE_RIGHT = np.zeros(40)


def test_gains_in_ten_sources_are_ten_heads_in_a_row():
    found = paired_difference(NONE_RIGHT, TEN_GAINED, range(40))
    assert found.p == pytest.approx(2 / 2**10, abs=0.001)


def test_gains_in_one_source_of_many_clips_prove_nothing():
    sources = ["a"] * 10 + list("bcdefghijklmnopqrstuvwxyzABCDE")
    assert paired_difference(NONE_RIGHT, TEN_GAINED, sources).p == 1


def test_of_a_single_source_nothing_is_known():
    assert paired_difference(NONE_RIGHT, TEN_GAINED, ["a"] * 40) == (0.25, -1, 1, 1)


def test_few_sources_prove_little():
    """Four sources, a clip gained in each: by chance as often as four heads or four tails."""
    sources = np.repeat(range(4), 2)
    found = paired_difference(np.zeros(8), np.tile([1, 0], 4), sources)
    assert found.p == pytest.approx(1 / 8)


SEVENTY_RIGHT = np.concatenate([np.zeros(30), np.ones(70)])


def test_ten_videos_gained_and_none_lost_is_significant():
    gained = SEVENTY_RIGHT.copy()
    gained[:10] = 1
    found = paired_difference(SEVENTY_RIGHT, gained, range(100))
    assert found.mean == pytest.approx(0.10)
    assert found.significant
    # Binomial: 100 draws at 0.1.
    assert (found.low, found.high) == pytest.approx((0.05, 0.16), abs=0.015)


def test_ten_videos_gained_and_ten_lost_is_not_significant():
    swapped = SEVENTY_RIGHT.copy()
    swapped[:10] = 1
    swapped[-10:] = 0
    assert not paired_difference(SEVENTY_RIGHT, swapped, range(100)).significant


def test_no_difference_is_not_significant():
    assert paired_difference(SEVENTY_RIGHT, SEVENTY_RIGHT, range(100)).p == 1


def test_p_is_uniform_where_nothing_differs():
    """The share of p below 0.05 among models that differ by chance alone is about 0.05."""
    generator = np.random.default_rng(0)
    ps = []
    for seed in range(300):
        first, second = generator.random((2, 200)) < 0.5
        found = paired_difference(first, second, range(200), num_draws=1000, seed=seed)
        ps.append(found.p)
    assert 0.02 < np.mean(np.array(ps) < 0.05) < 0.09
