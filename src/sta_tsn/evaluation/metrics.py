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
    """Eq 19: share of videos whose top class is in their label set. Videos without labels are left out."""
    top, target, _ = _top_and_target(scores, labels)
    return float(multiclass_accuracy(top, target, num_classes=scores.shape[1], average="micro"))


def is_right(scores: Tensor, labels: Tensor) -> Tensor:
    """(V,): 1 where the top class of a video is in its label set, 0 where not, NaN where it has no label."""
    labels = labels.bool()
    hit = labels.gather(1, scores.argmax(1, keepdim=True)).squeeze(1)
    return hit.double().masked_fill(~labels.any(1), torch.nan)


def mean_class_accuracy(scores: Tensor, labels: Tensor) -> float:
    """TSN's accuracy: the mean over the classes that have a video. Not the paper's Eq 19."""
    accuracies = per_class_accuracy(scores, labels)
    return float(accuracies[~accuracies.isnan()].mean())


def per_class_accuracy(scores: Tensor, labels: Tensor) -> Tensor:
    """(K,), NaN for classes without a video. A video with several labels counts for the one it was given."""
    top, target, present = _top_and_target(scores, labels)
    accuracies = multiclass_accuracy(top, target, num_classes=scores.shape[1], average="none")
    return accuracies.masked_fill(~present, torch.nan)


def confusion_matrix(scores: Tensor, labels: Tensor) -> Tensor:
    """Counts (K, K): rows are the true classes, columns the predicted ones."""
    top, target, _ = _top_and_target(scores, labels)
    return multiclass_confusion_matrix(top, target, num_classes=scores.shape[1])


def mean_average_precision(scores: Tensor, labels: Tensor) -> float:
    """Eq 15-18: mean over the classes that have a positive video of AP = sum P(v) rel(v) / sum rel(v).

    Equal scores share one rank. A video without labels counts as a negative of every class. Scores are replaced by
    their ranks first: torchmetrics passes values outside [0, 1] through a float32 sigmoid that would merge distinct
    ones. Exact to float64.
    """
    labels = labels.bool()
    columns = [k for k in range(scores.shape[1]) if labels[:, k].any()]
    if not columns:
        raise ValueError("no class has a positive video, so no average precision exists")
    precisions = []
    for k in columns:
        values, ranks = scores[:, k].unique(return_inverse=True)  # ascending
        with (
            _float64_by_default()
        ):  # torchmetrics divides integer counts, to whatever the default type is
            precisions.append(
                binary_average_precision(
                    (ranks.double() + 1) / (len(values) + 1), labels[:, k].long()
                )
            )
    return float(torch.stack(precisions).mean())


@contextmanager
def _float64_by_default() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _top_and_target(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Top class and one true class per labelled video, and which classes occur (K,).

    The true class of a video with several labels is the top class when it is among them, else the first.
    """
    labels = labels.bool()
    labelled = labels.any(1)
    if not labelled.any():
        raise ValueError("no video has a label, so no accuracy exists")
    scores, labels = scores[labelled], labels[labelled]
    top = scores.argmax(1)
    hit = labels.gather(1, top[:, None]).squeeze(1)
    target = torch.where(hit, top, labels.int().argmax(1))
    present = torch.zeros(labels.shape[1], dtype=torch.bool)
    present[target] = True
    return top, target, present
