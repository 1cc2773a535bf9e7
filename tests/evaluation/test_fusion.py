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


def test_fusing_needs_the_same_videos():
    labels = torch.eye(3).bool()
    one = ScoreTable(["a", "b", "c"], torch.eye(3), labels, ["x", "y", "z"], {"seed": 0})
    two = ScoreTable(
        ["c", "a", "b"],
        torch.eye(3)[[2, 0, 1]] * 3,
        labels[[2, 0, 1]],
        ["x", "y", "z"],
        {"seed": 0},
    )
    fused = fuse([one, two], [1, 3])
    torch.testing.assert_close(fused.scores, torch.eye(3) * (1 + 9) / 4)
    assert fused.ids == one.ids and fused.protocol["weights"] == [1, 3]
    other = ScoreTable(["a", "b", "d"], torch.eye(3), labels, ["x", "y", "z"], {})
    with pytest.raises(UserError, match="in one score table and not in the other: c, d"):
        fuse([one, other], [1, 1])
    with pytest.raises(UserError, match="different labels"):
        fuse([one, ScoreTable(one.ids, one.scores, ~labels, one.classes, {})], [1, 1])
    with pytest.raises(UserError, match="as many weights"):
        fuse([one, two], [1])
    with pytest.raises(UserError, match="none may be negative"):
        fuse([one, two], [1, -1])
    with pytest.raises(UserError, match="none may be negative or without bound"):
        fuse([one, two], [1, float("nan")])
    with pytest.raises(UserError, match="not finite numbers: training diverged"):
        replace(one, scores=one.scores / 0)
    with pytest.raises(UserError, match="trained with different classes"):
        pooled([one, replace(one, classes=["x", "y", "w"])])


def stream(good_classes: list[int], num_videos: int, seed: int) -> ScoreTable:
    """A stream of four classes that knows some of them and says noise about the rest."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.eye(4).repeat(num_videos // 4, 1).bool()
    scores = torch.randn(labels.shape, generator=generator)
    for k in good_classes:
        scores[:, k] = 4 * labels[:, k] - 2 + 0.3 * scores[:, k]
    return ScoreTable(
        [f"v{i}" for i in range(num_videos)], scores, labels, list("abcd"), {"seed": seed}
    )


def test_learned_weights_trust_each_stream_in_what_it_knows():
    """Learned on validation videos, better on test videos that the weights never saw."""
    streams = [
        replace(stream(good, 400, seed), validation=stream(good, 80, seed + 10))
        for good, seed in (([0, 1], 1), ([2, 3], 2))
    ]
    learned, equal = fuse_learned(streams), fuse(streams, [1, 1])
    weights = torch.tensor(learned.protocol["weights"])
    assert (
        (weights[0, :2] > weights[1, :2]).all()
        and (weights[1, 2:] > weights[0, 2:]).all()
        and (weights >= 0).all()
    )
    assert micro_accuracy(learned.scores, learned.labels) > micro_accuracy(
        equal.scores, equal.labels
    )
    shuffled = replace(streams[0], labels=streams[0].labels.flip(0))
    assert (
        fuse_learned([shuffled, replace(streams[1], labels=shuffled.labels)]).protocol["weights"]
        == learned.protocol["weights"]
    )


def test_equal_streams_keep_equal_weights():
    one = replace(stream([0, 1, 2, 3], 40, 1), validation=stream([0, 1, 2, 3], 40, 2))
    weights = torch.tensor(fuse_learned([one, one]).protocol["weights"])
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-3, atol=1e-3)


def test_runs_that_lack_each_others_videos():
    """A video of one frame has no flow; runs of two splits are no two streams."""
    one, two = (
        replace(stream([0, 1], 8, seed), protocol={"dataset": "d", "split": 1}) for seed in (1, 2)
    )
    assert [table.ids for table in on_shared_videos([one, shortened(two, 3)])] == [one.ids[3:]] * 2
    validated = [
        replace(table, validation=part)
        for table, part in ((one, shortened(one, 4)), (two, shortened(two, 2)))
    ]
    assert [table.validation.ids for table in on_shared_videos(validated)] == [one.ids[4:]] * 2
    apart = replace(two, validation=replace(two, ids=[f"w{row}" for row in range(8)]))
    assert [table.validation for table in on_shared_videos([validated[0], apart])] == [None, None]
    with pytest.raises(UserError, match="are of d split 1 and d split 2"):
        on_shared_videos([one, replace(two, protocol={"dataset": "d", "split": 2})])
    with pytest.raises(UserError, match="no video is in all of the score tables"):
        on_shared_videos([one, replace(two, ids=[f"w{row}" for row in range(8)])])


def shortened(table: ScoreTable, start: int) -> ScoreTable:
    return replace(
        table,
        ids=table.ids[start:],
        groups=table.groups[start:],
        scores=table.scores[start:],
        labels=table.labels[start:],
    )


def test_runs_without_validation_scores_cannot_be_learned_from(tmp_path):
    with pytest.raises(UserError, match="score table 1 has no validation scores"):
        fuse_learned([stream([0], 8, 1), stream([1], 8, 2)])


def test_validation_scores_are_kept_in_the_table(tmp_path):
    table = replace(stream([0], 8, 1), validation=stream([0], 4, 2))
    table.save(tmp_path / "scores.npz")
    again = ScoreTable.load(tmp_path / "scores.npz")
    assert torch.equal(
        again.validation.scores, table.validation.scores
    ) and again.validation.ids == ["v0", "v1", "v2", "v3"]
    assert torch.equal(again.scores, table.scores) and again.validation.validation is None


def test_score_tables_by_any_name_and_what_is_none(tmp_path, capsys):
    table = ScoreTable(["a"], torch.ones(1, 1), torch.ones(1, 1, dtype=torch.bool), ["x"], {})
    table.save(tmp_path / "fused")
    assert ScoreTable.load(tmp_path / "fused").ids == ["a"] and [
        path.name for path in tmp_path.iterdir()
    ] == ["fused"]
    (tmp_path / "run").mkdir()
    table.save(tmp_path / "run" / "scores.npz")
    assert ScoreTable.load(tmp_path / "run").ids == ["a"]
    (tmp_path / "metrics.csv").write_text("step\n")
    np.savez(tmp_path / "other.npz", ids=np.array(["a"]))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "fused").read_bytes()[:-30])
    replace(stream([0], 8, 1), protocol={}).save(tmp_path / "bare")
    assert (
        main(["evaluate", str(tmp_path / "bare")]) == 0
        and "unknown dataset split ?" in capsys.readouterr().out
    )
    for name, complaint in (
        ("metrics.csv", "metrics.csv is no score table"),
        ("cut.npz", "cut.npz is no score table"),
        ("other.npz", "classes, labels, protocol, scores missing"),
    ):
        with pytest.raises(UserError, match=complaint):
            ScoreTable.load(tmp_path / name)
