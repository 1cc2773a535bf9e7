"""Optical flow as colour: the direction is the hue, the length the saturation."""

import cv2
import numpy as np


def flow_to_colour(flow: np.ndarray, bound_px: float) -> np.ndarray:
    """Return RGB uint8 (H, W, 3) of flow (H, W, 2) in pixels.

    White does not move, full colour moves by `bound_px` or more. Red moves right, and going round
    as the compass does on the screen: yellow-green down, cyan left, violet up.
    """
    x = flow[..., 0]
    y = flow[..., 1]
    angle = np.arctan2(y, x) % (2 * np.pi)
    hue = angle * (180 / (2 * np.pi))  # OpenCV's ends at 180
    saturation = np.clip(np.hypot(x, y) / max(bound_px, 1e-6), 0, 1) * 255
    value = np.full_like(hue, 255)
    coloured = np.stack([hue, saturation, value], -1).astype(np.uint8)
    return cv2.cvtColor(coloured, cv2.COLOR_HSV2RGB)


def colour_wheel(size_px: int = 64) -> np.ndarray:
    """Draw the legend: each place shows the colour of moving there from the centre."""
    y, x = np.mgrid[-1 : 1 : size_px * 1j, -1 : 1 : size_px * 1j]
    wheel = flow_to_colour(np.stack([x, y], -1), 1.0)
    wheel[np.hypot(x, y) > 1] = 255
    return wheel
