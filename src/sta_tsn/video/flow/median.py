"""The 5 x 5 median filter that TV-L1 applies to the flow.

On a CPU it is OpenCV's, elsewhere a sorting network.
"""

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def median_5x5(flow: Tensor) -> Tensor:
    """Return the median of each 5 x 5 neighbourhood, borders repeated."""
    if flow.device.type != "cpu":
        return median_network(flow)
    # 25 times as fast there as the network.
    planes = [cv2.medianBlur(plane.numpy(), 5) for plane in flow.flatten(0, 1)]
    return torch.from_numpy(np.stack(planes)).reshape(flow.shape)


def median_network(flow: Tensor) -> Tensor:
    """Return the same by a network of minima and maxima, for devices that OpenCV does not know.

    Columns are sorted first, then the rows of equal rank; of a matrix sorted both ways only 13
    entries can be the median of all 25, and as many of the others lie below as above.
    """
    height, width = flow.shape[-2:]
    padded = F.pad(flow, (2, 2, 2, 2), mode="replicate")
    columns = [padded[..., start : start + height, :] for start in range(5)]
    candidates = []
    for rank, column in enumerate(sort_network(columns)):
        row = [column[..., start : start + width] for start in range(5)]
        for place, entry in enumerate(sort_network(row)):
            if _may_be_median(rank, place):
                candidates.append(entry)
    while len(candidates) > 1:
        _drop_largest(candidates)
        _drop_smallest(candidates)
    return candidates[0]


def _may_be_median(rank: int, place: int) -> bool:
    """Tell where at most 13 entries, itself among them, are surely not above one, nor below it."""
    num_not_above = (rank + 1) * (place + 1)
    num_not_below = (5 - rank) * (5 - place)
    return num_not_above <= 13 and num_not_below <= 13


def _drop_largest(values: list[Tensor]) -> None:
    for i in range(len(values) - 1):
        _exchange(values, i, i + 1)
    values.pop()


def _drop_smallest(values: list[Tensor]) -> None:
    for i in range(len(values) - 1, 0, -1):
        _exchange(values, i - 1, i)
    values.pop(0)


def sort_network(values: list[Tensor]) -> list[Tensor]:
    """Sort five tensors element by element, with nine exchanges."""
    values = list(values)
    for i, j in ((0, 3), (1, 4), (0, 2), (1, 3), (0, 1), (2, 4), (1, 2), (3, 4), (2, 3)):
        _exchange(values, i, j)
    return values


def _exchange(values: list[Tensor], i: int, j: int) -> None:
    """Put the smaller of two tensors' elements into the first, the larger into the second."""
    one = values[i]
    other = values[j]
    values[i] = torch.minimum(one, other)
    values[j] = torch.maximum(one, other)
