"""From score tables to figures: accuracy (Eq 19), mean-class accuracy, mAP, confusion."""

from sta_tsn.evaluation.fusion import fuse, fuse_learned, on_shared_videos, two_streams
from sta_tsn.evaluation.metrics import (
    confusion_matrix,
    mean_average_precision,
    mean_class_accuracy,
    micro_accuracy,
    per_class_accuracy,
    top_k_accuracy,
)
from sta_tsn.evaluation.scores import ScoreTable, pooled

__all__ = [
    "ScoreTable",
    "confusion_matrix",
    "fuse",
    "fuse_learned",
    "mean_average_precision",
    "mean_class_accuracy",
    "micro_accuracy",
    "on_shared_videos",
    "per_class_accuracy",
    "pooled",
    "top_k_accuracy",
    "two_streams",
]
