"""Bicubic warping of an image by a flow: OpenCV's on a CPU, torch's elsewhere."""

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def warp(image: Tensor, flow: Tensor) -> Tensor:
    """Return image(x + flow(x)), zero outside.

    Args:
        image: (B, C, H, W), float32.
        flow: (B, 2, H, W) in pixels, x then y, float32.
    """
    if image.device.type != "cpu":
        return warp_by_grid_sample(image, flow)
    height, width = image.shape[-2:]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    warped = torch.empty_like(image)
    for channels, (along_x, along_y), out in zip(image, flow.numpy(), warped, strict=True):
        source_x = x + along_x
        source_y = y + along_y
        for plane, target in zip(channels.numpy(), out.numpy(), strict=True):
            # Five times as fast as torch on a CPU.
            cv2.remap(
                plane,
                source_x,
                source_y,
                cv2.INTER_CUBIC,
                dst=target,
                borderMode=cv2.BORDER_CONSTANT,
            )
    return warped


def warp_by_grid_sample(image: Tensor, flow: Tensor) -> Tensor:
    """Return the same for devices that OpenCV does not know."""
    height, width = image.shape[-2:]
    like_image = {"device": image.device, "dtype": image.dtype}
    rows = torch.arange(height, **like_image)[:, None]
    columns = torch.arange(width, **like_image)[None, :]
    # In units of half the image, -1 to 1.
    source_x = (columns + flow[:, 0]) * (2 / (width - 1)) - 1
    source_y = (rows + flow[:, 1]) * (2 / (height - 1)) - 1
    grid = torch.stack([source_x, source_y], -1)
    return F.grid_sample(image, grid, mode="bicubic", padding_mode="zeros", align_corners=True)
