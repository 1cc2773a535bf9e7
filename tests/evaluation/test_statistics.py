"""Intervals, paired differences and attention scores against cases worked out by hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from sta_tsn.artefacts import write_json
from sta_tsn.attention.localisation import centre_bias, key_frame_scores, spatial_scores
from sta_tsn.attention.measurement import by_video, summary
from sta_tsn.datasets import VideoRecord
from sta_tsn.evaluation.statistics import accuracy_interval, effective_number, paired_difference
from sta_tsn.report.attention_tables import attention_over_baseline
from sta_tsn.report.tables import TestedRun
from sta_tsn.runs.layout import ATTENTION_FILE

TestedRun.__test__ = False  # no test class, whatever pytest thinks of its name


def test_wilsons_interval():
    """8 of 10, from Wilson's formula by hand: (0.4902, 0.9433)."""
    assert accuracy_interval(np.array([1] * 8 + [0] * 2), range(10)) == pytest.approx(
        (0.4902, 0.9433), abs=1e-4
    )


def test_clips_of_one_source_count_once_where_they_agree():
    """Ten sources of three clips that are right or wrong together are worth ten videos; clips that differ as strangers do, thirty."""
    alike, sources = np.repeat([1, 1, 1, 1, 1, 1, 1, 1, 0, 0], 3), np.repeat(np.arange(10), 3)
    assert effective_number(alike, sources) == pytest.approx(
        30 * (9 / 10) / 3 / (29 / 30), rel=1e-6
    )
    assert accuracy_interval(alike, sources) == pytest.approx(
        accuracy_interval(alike[::3], range(10)), abs=0.02
    )
    assert (
        effective_number(np.tile([1, 1, 0], 10), sources) == pytest.approx(30)
        and effective_number(np.ones(30), sources) == 10
    )
    assert effective_number(np.array([1, 0, 1]), ["a"] * 3) == 1


def test_sources_count_not_clips():
    """All gains in one source of many clips: nothing is known of other sources."""
    first, second = np.zeros(40), np.concatenate([np.ones(10), np.zeros(30)])
    assert paired_difference(first, second, range(40)).p == pytest.approx(2 / 2**10, abs=0.001)
    assert (
        paired_difference(first, second, ["a"] * 10 + list("bcdefghijklmnopqrstuvwxyzABCDE")).p == 1
    )
    assert paired_difference(first, second, ["a"] * 40) == (0.25, -1, 1, 1)


def test_few_sources_prove_little():
    """Four sources, a clip gained in each: by chance as often as four heads or four tails, 1 in 8."""
    assert paired_difference(
        np.zeros(8), np.tile([1, 0], 4), np.repeat(range(4), 2)
    ).p == pytest.approx(1 / 8)


def test_paired_difference_knows_pairs():
    """Ten videos gained and none lost is significant; ten gained and ten lost is not, nor is nothing."""
    right, wrong = np.ones(100), np.zeros(100)
    first = np.concatenate([wrong[:30], right[:70]])
    gained = first.copy()
    gained[:10] = 1
    found = paired_difference(first, gained, range(100))
    assert found.mean == pytest.approx(0.10) and found.significant
    assert (found.low, found.high) == pytest.approx(
        (0.05, 0.16), abs=0.015
    )  # binomial, 100 draws at 0.1
    swapped = gained.copy()
    swapped[-10:] = 0
    assert not paired_difference(first, swapped, range(100)).significant
    assert paired_difference(first, first, range(100)).p == 1


def test_p_is_uniform_where_nothing_differs():
    """The share of p below 0.05 among models that differ by chance alone is about 0.05."""
    generator = np.random.default_rng(0)
    ps = [
        paired_difference(
            *(generator.random((2, 200)) < 0.5), range(200), num_draws=1000, seed=seed
        ).p
        for seed in range(300)
    ]
    assert 0.02 < np.mean(np.array(ps) < 0.05) < 0.09


def test_spatial_scores_by_hand():
    """2 x 2 cells of a 4 x 4 crop, the actor fills the upper left cell."""
    mask = torch.zeros(3, 4, 4)
    mask[:2, :2, :2] = 1  # the third frame shows nobody
    alpha = torch.tensor(
        [[[0.7, 0.1], [0.1, 0.1]], [[0.1, 0.7], [0.1, 0.1]], [[0.25, 0.25], [0.25, 0.25]]]
    )
    found = spatial_scores(alpha, mask)
    assert found["pointing"].tolist()[:2] == [1, 0] and np.isnan(found["pointing"][2])
    assert found["pointing_uniform"][0] == pytest.approx(0.25)
    assert found["peak_at_border"].tolist()[:2] == [1, 1]  # 2 x 2 cells are all border
    assert found["mass_ratio"][:2] == pytest.approx([2.8, 0.4])  # 0.7 and 0.1 over an area of 1/4
    assert found["mass_ratio_centre"][0] == pytest.approx(
        1.0
    )  # four cells lie alike around the middle


@pytest.mark.parametrize("cells", [2, 3])
def test_the_baseline_points_at_the_middle_of_the_crop_on_any_grid(cells):
    mask = torch.zeros(1, 12, 12)
    mask[0, 5:7, 5:7] = 1
    found = spatial_scores(torch.eye(cells * cells)[:1].view(1, cells, cells), mask)
    assert found["pointing_centre"] == 1 and found["pointing"] == 0


def test_attention_that_knows_nothing_scores_as_chance():
    mask = torch.zeros(1, 7, 7)
    mask[0, :2, :2] = 1
    found = spatial_scores(torch.full((1, 7, 7), 1 / 49), mask)
    assert found["pointing"] == pytest.approx(4 / 49) and found["peak_at_border"] == pytest.approx(
        24 / 49
    )
    key = torch.tensor([[True, True, False, False]])
    assert key_frame_scores(torch.full((1, 4), 0.25), key)["recall"] == pytest.approx(0.5)
    assert key_frame_scores(torch.tensor([[0.1, 0.3, 0.3, 0.3]]), key)["recall"] == pytest.approx(
        1 / 3
    )  # 2 of 3 places, for 1 of 2


def test_attention_over_its_baseline_is_judged_by_sources(tmp_path):
    """Videos of six sources point better than the middle in 3 of 4 frames, one shows nobody; those of one source tell nothing."""
    nobody = np.array([np.nan, np.nan])
    measured = {
        video(f"g{number // 2}", number): {"hit": np.array([1.0, 0.5]), "middle": np.zeros(2)}
        for number in range(12)
    }
    measured[video("g9", 12)] = {"hit": nobody, "middle": nobody}
    assert summary(measured) == {"hit": 75, "middle": 0} and summary({}) == {}
    found = pointing_table(tmp_path, measured)
    assert found[["splits", "attention", "baseline", "tests", "sources"]].tolist() == [
        "1",
        75,
        0,
        12,
        6,
    ]
    assert found[["points", "low", "high"]].tolist() == [75, 75, 75]
    assert found["p"] == pytest.approx(2 / 2**6, abs=1e-4)  # all six sources in one direction
    twice = pointing_table(
        tmp_path, measured, {video("g0", 0): {"hit": np.zeros(2), "middle": np.zeros(2)}}
    )
    assert (
        twice["splits"] == "1, 2" and twice["tests"] == 13 and twice["sources"] == 6
    )  # the clip of both splits counts in each
    assert twice["points"] == pytest.approx(100 * 12 * 0.75 / 13, abs=0.01)
    alone = pointing_table(
        tmp_path,
        {video("g", number): {"hit": np.ones(1), "middle": np.zeros(1)} for number in range(5)},
    )
    assert alone[["low", "high", "p"]].tolist() == [-100, 100, 1]
    assert attention_over_baseline(
        [TestedRun("STA-TSN", "rgb", 1, 0, None, tmp_path / "absent")]
    ).empty


def pointing_table(folder: Path, *of_splits: dict) -> pd.Series:
    """The line of one row that was measured on these videos of splits 1, 2, ..."""
    runs = [
        TestedRun("STA-TSN", "rgb", split, 0, None, folder / str(split))
        for split, _ in enumerate(of_splits, 1)
    ]
    for run, measured in zip(runs, of_splits, strict=True):
        run.folder.mkdir(exist_ok=True)
        write_json(
            run.folder / ATTENTION_FILE,
            {"made_by": "x", "by_video": {"pointing": by_video(measured, "hit", "middle")}},
        )
    (line,) = attention_over_baseline(runs).iloc
    return line


def video(source: str, number: int) -> VideoRecord:
    return VideoRecord(f"v{number}", Path("v.avi"), (0,), source)


def test_centre_bias():
    bias = centre_bias(7, 7)
    assert float(bias.sum()) == pytest.approx(1) and int(bias.argmax()) == 24
    assert torch.allclose(bias, bias.flip(0)) and torch.allclose(bias, bias.T)


def test_key_frame_recall_by_hand():
    beta = torch.tensor([[0.1, 0.5, 0.3, 0.1], [0.4, 0.3, 0.2, 0.1], [0.25, 0.25, 0.25, 0.25]])
    key = torch.tensor(
        [[False, True, True, False], [False, False, False, True], [True, True, True, True]]
    )
    found = key_frame_scores(beta, key)
    assert found["recall"][:2].tolist() == [1, 0] and np.isnan(found["recall"][2])
    assert found["recall_uniform"][:2].tolist() == [0.5, 0.25]
