"""The paper's measures by hand and by scikit-learn, and score tables on disk."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from sta_tsn.errors import UserError
from sta_tsn.evaluation import (
    ScoreTable,
    confusion_matrix,
    mean_average_precision,
    mean_class_accuracy,
    micro_accuracy,
    per_class_accuracy,
    top_k_accuracy,
)

SCORES = torch.tensor([[3.0, 1, 0], [2, 5, 1], [4, 1, 2], [0, 2, 1]])
LABELS = torch.nn.functional.one_hot(torch.tensor([0, 1, 1, 1]), 3).bool()


def test_accuracies_by_hand():
    assert micro_accuracy(SCORES, LABELS) == pytest.approx(3 / 4)
    assert mean_class_accuracy(SCORES, LABELS) == pytest.approx((1 + 2 / 3) / 2)


def test_a_class_without_a_video_has_no_accuracy():
    found = per_class_accuracy(SCORES, LABELS)
    assert found[:2].tolist() == pytest.approx([1, 2 / 3])
    assert found[2].isnan()


def test_a_class_predicted_but_absent_does_not_lower_the_mean():
    labels = torch.nn.functional.one_hot(torch.tensor([0, 1]), 3).bool()
    scores = torch.tensor([[1.0, 0, 0], [0, 0, 1]])
    assert mean_class_accuracy(scores, labels) == pytest.approx(0.5)


def test_confusion_rows_are_the_true_classes():
    assert confusion_matrix(SCORES, LABELS).tolist() == [[1, 0, 0], [1, 2, 0], [0, 0, 0]]


def test_label_sets_and_background():
    labels = torch.tensor([[1, 0, 1], [0, 0, 0], [0, 0, 1]]).bool()
    scores = torch.tensor([[0.1, 0.0, 0.9], [0.9, 0.1, 0.0], [0.9, 0.0, 0.1]])
    assert micro_accuracy(scores, labels) == pytest.approx(1 / 2)


def test_without_a_label_there_is_no_accuracy():
    with pytest.raises(ValueError, match="no video has a label"):
        micro_accuracy(SCORES, torch.zeros_like(LABELS))


def average_precision_by_hand(scores: np.ndarray, labels: np.ndarray) -> float:
    """Return Eq 15-17, read literally, for scores without ties."""
    order = np.argsort(-scores)
    relevant = labels[order]
    precision = np.cumsum(relevant) / np.arange(1, len(relevant) + 1)
    return (precision * relevant).sum() / relevant.sum()


def test_mean_average_precision_is_equation_15_to_18():
    """200 tables without ties, by hand and by scikit-learn."""
    generator = np.random.default_rng(0)
    for _ in range(200):
        scores = generator.normal(0, 30, (40, 6))
        labels = generator.random((40, 6)) < 0.2
        labels[:, 0] = False  # a class without positives is left out
        present = np.flatnonzero(labels.any(0))
        by_hand = [average_precision_by_hand(scores[:, k], labels[:, k]) for k in present]
        by_sklearn = [average_precision_score(labels[:, k], scores[:, k]) for k in present]
        found = mean_average_precision(torch.from_numpy(scores), torch.from_numpy(labels))
        assert found == pytest.approx(np.mean(by_hand), abs=1e-9)
        assert found == pytest.approx(np.mean(by_sklearn), abs=1e-9)


def test_mean_average_precision_leaves_the_default_type_alone():
    mean_average_precision(SCORES, LABELS)
    assert torch.get_default_dtype() == torch.float32


def test_equal_scores_share_a_rank():
    """Two best videos tie, one of them positive (P = 1/2); the other positive is last (P = 2/4)."""
    scores = torch.tensor([[0.9], [0.9], [0.5], [0.1]])
    labels = torch.tensor([[1], [0], [0], [1]])
    assert mean_average_precision(scores, labels) == pytest.approx((1 / 2 + 2 / 4) / 2, abs=1e-9)
    assert mean_average_precision(torch.ones(4, 1), labels) == pytest.approx(1 / 2, abs=1e-9)


def test_background_videos_are_negatives_of_map_only():
    scores = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.1, 0.7]])
    labels = torch.tensor([[0, 0], [1, 0], [0, 1]])
    assert micro_accuracy(scores, labels) == 1
    assert mean_average_precision(scores, labels) == pytest.approx((1 / 2 + 1) / 2, abs=1e-9)


def test_top_5_looks_at_the_five_highest_scores():
    scores = torch.arange(24.0).expand(4, 24).clone()  # top classes: 23, 22, 21, 20, 19
    labels = torch.zeros(4, 24, dtype=torch.bool)
    labels[0, 23] = True
    labels[1, 19] = True
    labels[2, 18] = True
    labels[3, [0, 20]] = True  # of two labels one is enough
    assert top_k_accuracy(scores, labels) == pytest.approx(3 / 4)
    assert top_k_accuracy(scores, labels, k=6) == 1
    assert top_k_accuracy(scores, labels, k=1) == micro_accuracy(scores, labels)
    unlabelled = torch.cat([labels, torch.zeros(1, 24, dtype=torch.bool)])
    assert top_k_accuracy(scores[[0, 1, 2, 3, 3]], unlabelled) == pytest.approx(3 / 4)


def test_tables_of_many_classes_have_top_5():
    """By chance five of twenty classes are right once in four; of fewer it would say nothing."""
    scores = torch.arange(20.0).expand(4, 20).clone()
    labels = torch.zeros(4, 20, dtype=torch.bool)
    labels[torch.arange(4), torch.tensor([19, 15, 14, 0])] = True
    names = [f"class {k}" for k in range(20)]
    summary = ScoreTable(list("abcd"), scores, labels, names, {}).summary
    assert (summary["micro accuracy %"], summary["top-5 accuracy %"]) == (25, 50)
    fewer = ScoreTable(list("abcd"), scores[:, 1:], labels[:, 1:], names[1:], {}).summary
    assert "top-5 accuracy %" not in fewer


@pytest.fixture
def table() -> ScoreTable:
    weights = torch.rand(4, 3, 10)
    return ScoreTable(
        ["a", "b", "c", "d"], SCORES, LABELS, ["x", "y", "z"], {"seed": 0}, temporal_weights=weights
    )


def test_score_tables_survive_the_disk(table, tmp_path):
    table.save(tmp_path / "scores.npz")
    loaded = ScoreTable.load(tmp_path / "scores.npz")
    for part in ("ids", "classes", "protocol", "groups"):
        assert getattr(loaded, part) == getattr(table, part), part
    for part in ("scores", "labels", "temporal_weights"):
        assert torch.equal(getattr(loaded, part), getattr(table, part)), part


def test_the_summary_of_a_table_by_hand(table):
    assert table.summary == {
        "micro accuracy %": 75,
        "mean-class accuracy %": 83.33,
        "mAP %": 70.83,
        "videos": 4,
    }


def test_a_run_without_scores_has_not_been_tested(tmp_path):
    with pytest.raises(UserError, match="has not been tested"):
        ScoreTable.load(tmp_path / "absent.npz")


def test_a_score_table_names_a_video_once():
    with pytest.raises(UserError, match="twice"):
        ScoreTable(["a", "a", "c", "d"], SCORES, LABELS, ["x", "y", "z"], {})
