"""Accuracies in % that the authors print, to stand beside ours. Facts, not results of this code.

STA-TSN's (Yang et al., PLoS ONE 2022) unless said.
"""

from collections.abc import Sequence

import numpy as np

# Their benchmarks' tables have two numbers a row, top-1 and top-5 accuracy.
PUBLISHED_WITH_TOP_5 = ("kinetics400", "something_v1", "something_v2")

MODALITIES = ("rgb", "flow", "two-stream")
ROWS = ("CNN", "SA-CNN", "SA-CNN+TSN", "STA-TSN")

# Table 2, split 1, ResNet-152: the four rows, each RGB, flow, two-stream.
TABLE_2 = {
    "ucf101": ((82.3, 84.2, 91.6), (82.8, 84.5, 91.9), (82.7, 87.6, 92.1), (83.4, 86.5, 92.8)),
    "hmdb51": ((51.5, 57.2, 67.5), (52.4, 56.7, 67.6), (50.1, 59.5, 67.2), (53.9, 56.6, 68.6)),
    "jhmdb": ((54.5, 64.2, 72.8), (56.0, 64.6, 73.2), (56.7, 65.3, 78.0), (58.6, 69.8, 81.0)),
    "thumos14": ((None,) * 3, (None,) * 3, (None, None, 56.8), (None, None, 58.6)),
}
TABLE_2_MAP = {"thumos14": {("SA-CNN+TSN", "two-stream"): 63.5, ("STA-TSN", "two-stream"): 68.4}}

# Table 3, STA-TSN: splits 1 to 3, by modality.
TABLE_3 = {
    "ucf101": ((83.4, 81.5, 81.2), (86.5, 89.8, 89.7), (92.8, 92.9, 94.2)),
    "hmdb51": ((53.9, 49.8, 49.3), (56.6, 58.2, 59.8), (68.6, 67.2, 68.0)),
    "jhmdb": ((58.6, 55.2, 54.3), (69.8, 66.3, 67.6), (81.0, 77.1, 77.0)),
}

# As printed.
TABLE_3_MEAN = {
    "ucf101": (82.1, 88.7, 93.3),
    "hmdb51": (51.0, 58.2, 67.9),
    "jhmdb": (56.0, 67.9, 78.4),
}
# Song et al., AAAI 2017 (STA-LSTM): the mean of all five folds; of the ablation's rows and of
# single folds they print nothing.
SBU_MEAN = 91.51

# Tables 4 to 6, mean of three splits: the systems that the paper compares with, by modality.
COMPETITORS = {
    "ucf101": {
        "Two-Stream": (None, None, 88.0),
        "C3D+iDT": (None, None, 90.4),
        "Siamese network": (80.8, 87.8, 92.4),
        "Composite LSTM": (75.8, 77.7, 84.3),
        "LRCN": (77.1, 77.0, 82.9),
        "VideoLSTM": (79.6, 82.1, 88.9),
        "LTC Network": (82.4, 85.2, 91.7),
        "AdaScan": (78.6, 83.4, 89.4),
        "Two-Stream Fusion": (None, None, 92.5),
        "ActionVLAD": (None, None, 92.7),
        "Key Volume Mining": (None, None, 93.1),
        "Hierarchical Attention Networks": (75.1, 85.4, 92.7),
        "RSTAN": (None, None, 92.5),
        "STAN": (82.8, 88.2, 92.8),
    },
    "hmdb51": {
        "Two-Stream": (None, None, 59.4),
        "Siamese network": (44.1, 57.1, 62.0),
        "VideoLSTM": (43.3, 52.6, 56.4),
        "LTC Network": (49.7, 59.0, 64.8),
        "AdaScan": (41.4, 49.2, 54.9),
        "Two-Stream Fusion": (None, None, 65.4),
        "ActionVLAD": (51.2, 58.4, 66.9),
        "Key Volume Mining": (None, None, 63.3),
        "Hierarchical Attention Networks": (47.7, 58.3, 64.3),
        "Temporal-Inception": (None, None, 67.5),
    },
    "jhmdb": {
        "Two-Stream LSTM": (None, None, 69.0),
        "GRP+iDT+FV": (None, None, 70.6),
        "RSTAN": (None, None, 72.0),
        "Second-order Temporal Pooling": (None, None, 72.4),
        "HOK + second-order + iDT-FV": (None, None, 73.3),
        "Chained multi-stream networks": (None, None, 76.1),
    },
}
COMPETITORS_TABLE = {"ucf101": "Table 4", "hmdb51": "Table 5", "jhmdb": "Table 6"}


def mean_of(dataset: str, row: str, modality: str, splits: Sequence[int]) -> float | None:
    """Return the printed mean of these splits, or the mean of what is printed of each.

    None where the authors print neither.
    """
    if (dataset, row, len(splits)) == ("sbu", "STA-LSTM", 5):
        return SBU_MEAN
    printed = [accuracy_of(dataset, row, modality, split) for split in splits]
    if None in printed:
        return None
    if len(splits) == 3:
        return TABLE_3_MEAN[dataset][MODALITIES.index(modality)]
    return float(np.mean(printed))


def accuracy_of(dataset: str, row: str, modality: str, split: int) -> float | None:
    """Return what the paper prints for a row on one split; None where it prints nothing."""
    if modality not in MODALITIES or row not in ROWS:
        return None
    column = MODALITIES.index(modality)
    if row == "STA-TSN" and dataset in TABLE_3 and split <= 3:
        return TABLE_3[dataset][column][split - 1]
    if split == 1 and dataset in TABLE_2:
        return TABLE_2[dataset][ROWS.index(row)][column]
    return None
