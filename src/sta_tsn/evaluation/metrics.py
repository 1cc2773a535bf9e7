"""The paper's measures, from class scores (V, K) and multi-hot labels (V, K), by torchmetrics."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torchmetrics.functional.classification import (
    binary_average_precision,
    multiclass_accuracy,
    multiclass_confusion_matrix,
)


def micro_accuracy(scores: Tensor, labels: Tensor) -> float:
    """Return Eq 19: the share of videos whose top class is in their label set.

    Videos without labels are left out.

    Raises:
        ValueError: no video has a label.
    """
    top, target, _ = _top_and_target(scores, labels)
    return float(multiclass_accuracy(top, target, num_classes=scores.shape[1], average="micro"))


def top_k_accuracy(scores: Tensor, labels: Tensor, k: int = 5) -> float:
    """Return the share (0 to 1) of videos with one of their labels among their k top classes.

    Videos without labels are left out, as in Eq 19.

    Args:
        scores: (V, K), K > k.
        labels: multi-hot (V, K).
        k: number of classes that are looked at.

    Raises:
        ValueError: no video has a label.
    """
    scores, labels = _labelled(scores, labels)
    # Of several labels the one with the highest score: where none is among k, that is not either.
    target = scores.masked_fill(~labels, -torch.inf).argmax(1)
    accuracy = multiclass_accuracy(
        scores, target, num_classes=scores.shape[1], top_k=k, average="micro"
    )
    return float(accuracy)


def is_right(scores: Tensor, labels: Tensor) -> Tensor:
    """Return (V,): 1 where a video's top class is in its label set, else 0.

    Where a video has no label it is NaN.
    """
    labels = labels.bool()
    hit = labels.gather(1, scores.argmax(1, keepdim=True)).squeeze(1)
    return hit.double().masked_fill(~labels.any(1), torch.nan)


def mean_class_accuracy(scores: Tensor, labels: Tensor) -> float:
    """Return TSN's accuracy: the mean over the classes that have a video.

    It is not the paper's Eq 19.

    Raises:
        ValueError: no video has a label.
    """
    accuracies = per_class_accuracy(scores, labels)
    return float(accuracies[~accuracies.isnan()].mean())


def per_class_accuracy(scores: Tensor, labels: Tensor) -> Tensor:
    """Return each class's accuracy (K,), NaN for classes without a video.

    A video with several labels counts for its top class where that is among them, else for the
    first of them.

    Raises:
        ValueError: no video has a label.
    """
    top, target, present = _top_and_target(scores, labels)
    accuracies = multiclass_accuracy(top, target, num_classes=scores.shape[1], average="none")
    return accuracies.masked_fill(~present, torch.nan)


def confusion_matrix(scores: Tensor, labels: Tensor) -> Tensor:
    """Return counts (K, K): rows are the true classes, columns the predicted ones.

    Raises:
        ValueError: no video has a label.
    """
    top, target, _ = _top_and_target(scores, labels)
    return multiclass_confusion_matrix(top, target, num_classes=scores.shape[1])


def mean_average_precision(scores: Tensor, labels: Tensor) -> float:
    """Return Eq 15-18: the mean of AP = sum P(v) rel(v) / sum rel(v) over the classes.

    Classes without a positive video are left out; a video without labels counts as a negative of
    every class. Equal scores share one rank. The result is exact to float64.

    Raises:
        ValueError: no class has a positive video.
    """
    labels = labels.bool()
    precisions = []
    for column, is_positive in zip(scores.T, labels.T, strict=True):
        if is_positive.any():
            precisions.append(_average_precision(column, is_positive))
    if not precisions:
        raise ValueError("no class has a positive video, so no average precision exists")
    return float(torch.stack(precisions).mean())


def _average_precision(scores: Tensor, is_positive: Tensor) -> Tensor:
    """Return AP of one class, both arguments (V,).

    Scores are replaced by their ranks first: torchmetrics passes values outside [0, 1] through a
    float32 sigmoid that would merge distinct ones.
    """
    values, ranks = scores.unique(return_inverse=True)  # ascending
    shares = (ranks.double() + 1) / (len(values) + 1)
    # Torchmetrics divides integer counts, to whatever the default type is.
    with _float64_by_default():
        return binary_average_precision(shares, is_positive.long())


@contextmanager
def _float64_by_default() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _labelled(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return scores (V', K) and boolean labels (V', K) of the videos that have a label.

    Raises:
        ValueError: no video has one.
    """
    labels = labels.bool()
    labelled = labels.any(1)
    if not labelled.any():
        raise ValueError("no video has a label, so no accuracy exists")
    return scores[labelled], labels[labelled]


def _top_and_target(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return top class and one true class of each labelled video, and which classes occur (K,).

    The true class of a video with several labels is the top class when it is among them, else the
    first.

    Raises:
        ValueError: no video has a label.
    """
    scores, labels = _labelled(scores, labels)
    top = scores.argmax(1)
    hit = labels.gather(1, top[:, None]).squeeze(1)
    target = torch.where(hit, top, labels.int().argmax(1))
    present = torch.zeros(labels.shape[1], dtype=torch.bool)
    present[target] = True
    return top, target, present
