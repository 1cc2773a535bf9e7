"""Spatial attention as colours over a video, between the frames that were looked at too."""

from dataclasses import dataclass

import cv2
import matplotlib
import numpy as np

from sta_tsn.attention.explain import COLOUR_MAP, over_uniform, top_of_scale
from sta_tsn.explanation.explained_video import ExplainedStream
from sta_tsn.video.crops import CENTRE_PLACE, CROP_PX, crop_box, frame_size

NUM_COLOURS = 64
STRENGTH = 0.6  # opacity of the largest values


@dataclass(frozen=True)
class Box:
    """A part of a picture, each number a share of its width or height."""

    left: float
    top: float
    width: float
    height: float


def centre_box(picture: np.ndarray, keep_proportions: bool) -> Box:
    """Return where the network's centre crop lies in a picture (H, W, 3) of the video."""
    frame = frame_size(picture, keep_proportions)
    x, y, width, height = crop_box(frame, CENTRE_PLACE, CROP_PX, CROP_PX)
    return Box(x / frame.width, y / frame.height, width / frame.width, height / frame.height)


def colours() -> np.ndarray:
    """Return the colour map, uint8 (NUM_COLOURS, 3) RGB, from nothing to the top of the scale."""
    steps = np.linspace(0, 1, NUM_COLOURS)
    return (255 * matplotlib.colormaps[COLOUR_MAP](steps)[:, :3]).round().astype(np.uint8)


class Heat:
    """Alpha of one stream at any frame: between two frames that were seen it changes evenly.

    Args:
        stream: with alpha.
    """

    def __init__(self, stream: ExplainedStream):
        seen = stream.indices.flatten()
        maps = over_uniform(stream.alpha).numpy()
        # Of short videos a frame is seen several times, and each time looked at alike.
        self.frames, first = np.unique(seen, return_index=True)
        self.values = maps[first] / top_of_scale(stream.alpha)  # (frames, h, w), 1 is the top
        self.colours = colours()
        self.keep_proportions = stream.explained.keep_proportions

    def at(self, frame: int) -> np.ndarray:
        """Return the map (h, w) of a frame of the video, 0 to 1."""
        after = int(np.searchsorted(self.frames, frame))
        if after == 0:
            value = self.values[0]
        elif after == len(self.frames):
            value = self.values[-1]
        else:
            before = after - 1
            step = self.frames[after] - self.frames[before]
            share = (frame - self.frames[before]) / step
            value = (1 - share) * self.values[before] + share * self.values[after]
        return value.clip(0, 1)

    def lay_over(self, picture: np.ndarray, frame: int) -> np.ndarray:
        """Return a picture of the video, uint8 (H, W, 3), with the frame's attention over it."""
        height, width = picture.shape[:2]
        box = centre_box(picture, self.keep_proportions)
        left = round(box.left * width)
        top = round(box.top * height)
        right = left + round(box.width * width)
        bottom = top + round(box.height * height)
        size = (right - left, bottom - top)
        value = cv2.resize(self.at(frame).astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
        colour = self.colours[(value * (NUM_COLOURS - 1)).round().astype(int)]
        opacity = STRENGTH * value[..., None]
        result = picture.copy()
        seen = result[top:bottom, left:right]
        seen[:] = ((1 - opacity) * seen + opacity * colour).round().astype(np.uint8)
        return result
