"""Scores of spatial and temporal attention against cases worked out by hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from sta_tsn.artefacts import write_json
from sta_tsn.attention.localisation import centre_bias, key_frame_scores, spatial_scores
from sta_tsn.attention.measurement import by_video, summary
from sta_tsn.datasets import VideoRecord
from sta_tsn.report.attention_tables import attention_over_baseline
from sta_tsn.report.tables import TestedRun
from sta_tsn.runs.layout import ATTENTION_FILE

TestedRun.__test__ = False  # no test class, whatever pytest thinks of its name


@pytest.fixture
def upper_left() -> dict:
    """Scores on 2 x 2 cells of a 4 x 4 crop, the actor filling the upper left cell."""
    mask = torch.zeros(3, 4, 4)
    mask[:2, :2, :2] = 1  # the third frame shows nobody
    alpha = torch.tensor(
        [
            [[0.7, 0.1], [0.1, 0.1]],
            [[0.1, 0.7], [0.1, 0.1]],
            [[0.25, 0.25], [0.25, 0.25]],
        ]
    )
    return spatial_scores(alpha, mask)


def test_pointing_by_hand(upper_left):
    assert upper_left["pointing"][:2].tolist() == [1, 0]
    assert upper_left["pointing_uniform"][0] == pytest.approx(0.25)


def test_a_frame_that_shows_nobody_has_no_score(upper_left):
    assert np.isnan(upper_left["pointing"][2])


def test_two_by_two_cells_are_all_border(upper_left):
    assert upper_left["peak_at_border"][:2].tolist() == [1, 1]


def test_mass_ratio_by_hand(upper_left):
    """0.7 and 0.1 over an area of 1/4; of the centre 1, for four cells lie alike around it."""
    assert upper_left["mass_ratio"][:2] == pytest.approx([2.8, 0.4])
    assert upper_left["mass_ratio_centre"][0] == pytest.approx(1.0)


@pytest.mark.parametrize("cells", [2, 3])
def test_the_baseline_points_at_the_middle_of_the_crop_on_any_grid(cells):
    mask = torch.zeros(1, 12, 12)
    mask[0, 5:7, 5:7] = 1
    alpha = torch.zeros(1, cells, cells)
    alpha[0, 0, 0] = 1
    found = spatial_scores(alpha, mask)
    assert found["pointing_centre"] == 1
    assert found["pointing"] == 0


def test_spatial_attention_that_knows_nothing_scores_as_chance():
    mask = torch.zeros(1, 7, 7)
    mask[0, :2, :2] = 1
    found = spatial_scores(torch.full((1, 7, 7), 1 / 49), mask)
    assert found["pointing"] == pytest.approx(4 / 49)
    assert found["peak_at_border"] == pytest.approx(24 / 49)


def test_temporal_attention_that_knows_nothing_scores_as_chance():
    key = torch.tensor([[True, True, False, False]])
    found = key_frame_scores(torch.full((1, 4), 0.25), key)
    assert found["recall"] == pytest.approx(0.5)
    # Two of three equal frames share the second place, one of them is a key frame.
    found = key_frame_scores(torch.tensor([[0.1, 0.3, 0.3, 0.3]]), key)
    assert found["recall"] == pytest.approx(1 / 3)


def video(source: str, number: int) -> VideoRecord:
    return VideoRecord(f"v{number}", Path("v.avi"), (0,), source)


@pytest.fixture
def six_sources() -> dict:
    """Videos of six sources better than the middle in 3 of 4 frames; one more shows nobody."""
    nobody = np.array([np.nan, np.nan])
    measured = {}
    for number in range(12):
        found = {"hit": np.array([1.0, 0.5]), "middle": np.zeros(2)}
        measured[video(f"g{number // 2}", number)] = found
    measured[video("g9", 12)] = {"hit": nobody, "middle": nobody}
    return measured


def pointing_table(folder: Path, *of_splits: dict) -> pd.Series:
    """Return the line of one row that was measured on these videos of splits 1, 2, ..."""
    runs = []
    for split, measured in enumerate(of_splits, 1):
        run = TestedRun("STA-TSN", "rgb", split, 0, None, folder / str(split))
        run.folder.mkdir(exist_ok=True)
        of_videos = {"pointing": by_video(measured, "hit", "middle")}
        write_json(run.folder / ATTENTION_FILE, {"made_by": "x", "by_video": of_videos})
        runs.append(run)
    (line,) = attention_over_baseline(runs).iloc
    return line


def test_the_summary_leaves_out_what_shows_nobody(six_sources):
    assert summary(six_sources) == {"hit": 75, "middle": 0}
    assert summary({}) == {}


def test_attention_over_its_baseline_is_judged_by_sources(tmp_path, six_sources):
    found = pointing_table(tmp_path, six_sources)
    columns = ["splits", "attention", "baseline", "tests", "sources"]
    assert found[columns].tolist() == ["1", 75, 0, 12, 6]
    assert found[["points", "low", "high"]].tolist() == [75, 75, 75]
    assert found["p"] == pytest.approx(2 / 2**6, abs=1e-4)  # all six sources in one direction


def test_a_clip_of_two_splits_counts_in_each(tmp_path, six_sources):
    again = {video("g0", 0): {"hit": np.zeros(2), "middle": np.zeros(2)}}
    found = pointing_table(tmp_path, six_sources, again)
    assert found[["splits", "tests", "sources"]].tolist() == ["1, 2", 13, 6]
    assert found["points"] == pytest.approx(100 * 12 * 0.75 / 13, abs=0.01)


def test_videos_of_one_source_tell_nothing_of_attention(tmp_path):
    measured = {}
    for number in range(5):
        measured[video("g", number)] = {"hit": np.ones(1), "middle": np.zeros(1)}
    found = pointing_table(tmp_path, measured)
    assert found[["low", "high", "p"]].tolist() == [-100, 100, 1]


def test_runs_that_were_not_measured_have_no_line(tmp_path):
    run = TestedRun("STA-TSN", "rgb", 1, 0, None, tmp_path / "absent")
    assert attention_over_baseline([run]).empty


def test_centre_bias_is_symmetric_about_the_middle():
    bias = centre_bias(7, 7)
    assert float(bias.sum()) == pytest.approx(1)
    assert int(bias.argmax()) == 24
    assert torch.allclose(bias, bias.flip(0))
    assert torch.allclose(bias, bias.T)


def test_key_frame_recall_by_hand():
    beta = torch.tensor([[0.1, 0.5, 0.3, 0.1], [0.4, 0.3, 0.2, 0.1], [0.25] * 4])
    key = torch.tensor(
        [
            [False, True, True, False],
            [False, False, False, True],
            [True, True, True, True],
        ]
    )
    found = key_frame_scores(beta, key)
    assert found["recall"][:2].tolist() == [1, 0]
    assert found["recall_uniform"][:2].tolist() == [0.5, 0.25]


def test_where_every_frame_is_a_key_frame_there_is_no_recall():
    every = torch.ones(1, 4, dtype=torch.bool)
    assert np.isnan(key_frame_scores(torch.full((1, 4), 0.25), every)["recall"][0])
