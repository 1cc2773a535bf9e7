"""Fusing score tables: by given weights, and by weights learned on validation videos."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sta_tsn.cli import main
from sta_tsn.errors import UserError
from sta_tsn.evaluation import (
    ScoreTable,
    fuse,
    fuse_learned,
    micro_accuracy,
    on_shared_videos,
    pooled,
)

ONE = ScoreTable(["a", "b", "c"], torch.eye(3), torch.eye(3).bool(), ["x", "y", "z"], {"seed": 0})
ORDER = [2, 0, 1]
IN_OTHER_ORDER = ScoreTable(
    ["c", "a", "b"], 3 * ONE.scores[ORDER], ONE.labels[ORDER], ONE.classes, {"seed": 0}
)


def test_fusing_joins_the_tables_by_video():
    fused = fuse([ONE, IN_OTHER_ORDER], [1, 3])
    torch.testing.assert_close(fused.scores, torch.eye(3) * (1 + 9) / 4)
    assert fused.ids == ONE.ids
    assert fused.protocol["weights"] == [1, 3]


def test_fusing_needs_the_same_videos_and_labels():
    other = ScoreTable(["a", "b", "d"], ONE.scores, ONE.labels, ONE.classes, {})
    with pytest.raises(UserError, match="in one score table and not in the other: c, d"):
        fuse([ONE, other], [1, 1])
    with pytest.raises(UserError, match="different labels"):
        fuse([ONE, ScoreTable(ONE.ids, ONE.scores, ~ONE.labels, ONE.classes, {})], [1, 1])


@pytest.mark.parametrize(
    ("weights", "complaint"),
    [
        ([1], "as many weights"),
        ([1, -1], "none may be negative"),
        ([1, float("nan")], "none may be negative or without bound"),
    ],
)
def test_weights_are_as_many_as_tables_and_not_negative(weights, complaint):
    with pytest.raises(UserError, match=complaint):
        fuse([ONE, IN_OTHER_ORDER], weights)


def test_a_score_table_holds_finite_numbers():
    with pytest.raises(UserError, match="not finite numbers: training diverged"):
        replace(ONE, scores=ONE.scores / 0)


def test_splits_with_other_classes_are_not_pooled():
    with pytest.raises(UserError, match="trained with different classes"):
        pooled([ONE, replace(ONE, classes=["x", "y", "w"])])


def stream(good_classes: list[int], num_videos: int, seed: int) -> ScoreTable:
    """Return a stream of four classes that knows some of them and says noise about the rest."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.eye(4).repeat(num_videos // 4, 1).bool()
    scores = torch.randn(labels.shape, generator=generator)
    for k in good_classes:
        scores[:, k] = 4 * labels[:, k] - 2 + 0.3 * scores[:, k]
    names = [f"v{i}" for i in range(num_videos)]
    return ScoreTable(names, scores, labels, list("abcd"), {"seed": seed})


@pytest.fixture(scope="module")
def streams() -> list[ScoreTable]:
    """Two streams with validation scores, one good at the first two classes, one at the others."""
    first = replace(stream([0, 1], 400, seed=1), validation=stream([0, 1], 80, seed=11))
    second = replace(stream([2, 3], 400, seed=2), validation=stream([2, 3], 80, seed=12))
    return [first, second]


def test_learned_weights_trust_each_stream_in_what_it_knows(streams):
    weights = torch.tensor(fuse_learned(streams).protocol["weights"])
    assert (weights[0, :2] > weights[1, :2]).all()
    assert (weights[1, 2:] > weights[0, 2:]).all()
    assert (weights >= 0).all()


def test_learned_weights_are_better_on_videos_that_they_never_saw(streams):
    learned = fuse_learned(streams)
    equal = fuse(streams, [1, 1])
    accuracy = micro_accuracy(learned.scores, learned.labels)
    assert accuracy > micro_accuracy(equal.scores, equal.labels)


def test_weights_are_not_learned_from_the_test_videos(streams):
    shuffled = [replace(table, labels=table.labels.flip(0)) for table in streams]
    weights = fuse_learned(shuffled).protocol["weights"]
    assert weights == fuse_learned(streams).protocol["weights"]


def test_equal_streams_keep_equal_weights():
    one = replace(stream([0, 1, 2, 3], 40, 1), validation=stream([0, 1, 2, 3], 40, 2))
    weights = torch.tensor(fuse_learned([one, one]).protocol["weights"])
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-3, atol=1e-3)


ON_SPLIT_1 = {"dataset": "d", "split": 1}
OTHER_IDS = [f"w{row}" for row in range(8)]


@pytest.fixture(scope="module")
def rgb() -> ScoreTable:
    return replace(stream([0, 1], 8, seed=1), protocol=ON_SPLIT_1)


@pytest.fixture(scope="module")
def flow() -> ScoreTable:
    return replace(stream([0, 1], 8, seed=2), protocol=ON_SPLIT_1)


def shortened(table: ScoreTable, start: int) -> ScoreTable:
    return replace(
        table,
        ids=table.ids[start:],
        groups=table.groups[start:],
        scores=table.scores[start:],
        labels=table.labels[start:],
    )


def test_videos_that_one_run_lacks_are_left_out(rgb, flow):
    """A video of one frame, for instance, has no flow."""
    shared = on_shared_videos([rgb, shortened(flow, 3)])
    assert [table.ids for table in shared] == [rgb.ids[3:]] * 2
    assert [table.protocol.get("missing") for table in shared] == [3, 0]


def test_validation_videos_that_one_run_lacks_are_left_out(rgb, flow):
    first = replace(rgb, validation=shortened(rgb, 4))
    second = replace(flow, validation=shortened(flow, 2))
    shared = on_shared_videos([first, second])
    assert [table.validation.ids for table in shared] == [rgb.ids[4:]] * 2


def test_runs_without_a_common_validation_video_have_none(rgb, flow):
    first = replace(rgb, validation=shortened(rgb, 4))
    apart = replace(flow, validation=replace(flow, ids=OTHER_IDS))
    shared = on_shared_videos([first, apart])
    assert [table.validation for table in shared] == [None, None]


def test_runs_of_two_splits_are_no_two_streams(rgb, flow):
    with pytest.raises(UserError, match="are of d split 1 and d split 2"):
        on_shared_videos([rgb, replace(flow, protocol={"dataset": "d", "split": 2})])
    with pytest.raises(UserError, match="no video is in all of the score tables"):
        on_shared_videos([rgb, replace(flow, ids=OTHER_IDS)])


def test_runs_without_validation_scores_cannot_be_learned_from():
    with pytest.raises(UserError, match="score table 1 has no validation scores"):
        fuse_learned([stream([0], 8, 1), stream([1], 8, 2)])


def test_validation_scores_are_kept_in_the_table(tmp_path):
    table = replace(stream([0], 8, 1), validation=stream([0], 4, 2))
    table.save(tmp_path / "scores.npz")
    again = ScoreTable.load(tmp_path / "scores.npz")
    assert torch.equal(again.scores, table.scores)
    assert torch.equal(again.validation.scores, table.validation.scores)
    assert again.validation.ids == ["v0", "v1", "v2", "v3"]
    assert again.validation.validation is None


@pytest.fixture
def small() -> ScoreTable:
    return ScoreTable(["a"], torch.ones(1, 1), torch.ones(1, 1, dtype=torch.bool), ["x"], {})


def test_a_score_table_is_kept_under_any_name(small, tmp_path):
    small.save(tmp_path / "fused")
    assert ScoreTable.load(tmp_path / "fused").ids == ["a"]
    assert [path.name for path in tmp_path.iterdir()] == ["fused"]


def test_a_runs_folder_stands_for_its_score_table(small, tmp_path):
    small.save(tmp_path / "scores.npz")
    assert ScoreTable.load(tmp_path).ids == ["a"]


def test_a_table_without_protocol_can_be_evaluated(tmp_path, capsys):
    replace(stream([0], 8, 1), protocol={}).save(tmp_path / "bare")
    assert main(["evaluate", str(tmp_path / "bare")]) == 0
    assert "unknown dataset split ?" in capsys.readouterr().out


def test_what_is_no_score_table_is_told(small, tmp_path):
    (tmp_path / "metrics.csv").write_text("step\n")
    (tmp_path / "empty.npz").touch()
    np.save(tmp_path / "array.npy", np.zeros(3))
    np.savez(tmp_path / "other.npz", ids=np.array(["a"]))
    small.save(tmp_path / "cut.npz")
    whole = (tmp_path / "cut.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[:-30])
    for name, complaint in (
        ("metrics.csv", "metrics.csv is no score table.*: it is empty or of another kind"),
        ("empty.npz", "empty.npz is no score table.*: it is empty or of another kind"),
        ("array.npy", "it is a single array"),
        ("cut.npz", "cut.npz is no score table"),
        ("other.npz", "classes, labels, protocol, scores missing"),
    ):
        with pytest.raises(UserError, match=complaint):
            ScoreTable.load(tmp_path / name)
