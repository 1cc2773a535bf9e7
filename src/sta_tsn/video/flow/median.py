"""The 5 x 5 median filter that TV-L1 applies to the flow: OpenCV's on a CPU, a sorting network elsewhere."""

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def median_5x5(flow: Tensor) -> Tensor:
    """Median of each 5 x 5 neighbourhood, borders repeated."""
    if flow.device.type != "cpu":
        return median_network(flow)
    planes = [
        cv2.medianBlur(plane.numpy(), 5) for plane in flow.flatten(0, 1)
    ]  # 25 times faster there
    return torch.from_numpy(np.stack(planes)).reshape(flow.shape)


def median_network(flow: Tensor) -> Tensor:
    """The same by a network of minima and maxima, for devices that OpenCV does not know.

    Columns are sorted first, then the rows of equal rank; of a matrix sorted both ways only 13 entries can be the
    median of all 25, and as many of the others lie below as above.
    """
    height, width = flow.shape[-2:]
    padded = F.pad(flow, (2, 2, 2, 2), mode="replicate")
    columns = sort_network([padded[..., i : i + height, :] for i in range(5)])
    rows = [sort_network([column[..., j : j + width] for j in range(5)]) for column in columns]
    candidates = [
        rows[i][j]
        for i in range(5)
        for j in range(5)
        if (i + 1) * (j + 1) <= 13 and (5 - i) * (5 - j) <= 13
    ]
    while len(candidates) > 1:  # drop the smallest and the largest until one is left
        for i in range(len(candidates) - 1):
            candidates[i], candidates[i + 1] = exchange(candidates[i], candidates[i + 1])
        candidates.pop()
        for i in range(len(candidates) - 1, 0, -1):
            candidates[i - 1], candidates[i] = exchange(candidates[i - 1], candidates[i])
        candidates.pop(0)
    return candidates[0]


def sort_network(values: list[Tensor]) -> list[Tensor]:
    """Five tensors, sorted element by element with nine exchanges."""
    values = list(values)
    for i, j in ((0, 3), (1, 4), (0, 2), (1, 3), (0, 1), (2, 4), (1, 2), (3, 4), (2, 3)):
        values[i], values[j] = exchange(values[i], values[j])
    return values


def exchange(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    return torch.minimum(one, other), torch.maximum(one, other)
