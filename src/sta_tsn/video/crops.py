"""Crops of TSN, each a single resize from the source frame: no resized frame is ever made.

TSN crops from frames resized to 340x256, whatever their proportions. Here a crop box is laid out in
that frame, or in one of 256 px on the short side that keeps the video's proportions, and mapped to
the source pixels, so cropping and resizing are one cv2 call. Sizes are relative to 256: a backbone
with a 224 px input crops 224 of 256, one with S px crops the same share.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np

FRAME_WIDTH_PX, FRAME_HEIGHT_PX = 340, 256
SHORT_SIDE_PX = FRAME_HEIGHT_PX
CROP_PX = 224
RGB_SCALES = (1.0, 0.875, 0.75, 0.66)
FLOW_SCALES = (1.0, 0.875, 0.75)

# TSN's places of a crop, (i, j) in quarters of the room beside and above it: the four corners and
# the centre, the edges' middles, the quarter points.
CENTRE_PLACE = (2, 2)
FIVE_PLACES = (CENTRE_PLACE, (0, 0), (4, 0), (0, 4), (4, 4))
THIRTEEN_PLACES = (
    *((0, 0), (4, 0), (0, 4), (4, 4), (2, 2)),
    *((0, 2), (4, 2), (2, 4), (2, 0)),
    *((1, 1), (3, 1), (1, 3), (3, 3)),
)

Place = tuple[int, int]
Box = tuple[float, float, float, float]  # x, y, width, height in a frame


class FrameSize(NamedTuple):
    """The frame that crops are laid out in, in pixels."""

    width: float
    height: float


TSN_FRAME = FrameSize(FRAME_WIDTH_PX, FRAME_HEIGHT_PX)


def frame_size(picture: np.ndarray, keep_proportions: bool) -> FrameSize:
    """Return the frame that crops of a picture (H, W, C) are laid out in.

    It is TSN's 340x256, or with `keep_proportions` the picture resized to 256 px on its short side,
    upright ones too.
    """
    if not keep_proportions:
        return TSN_FRAME
    height, width = picture.shape[:2]
    scale = SHORT_SIDE_PX / min(height, width)
    return FrameSize(width * scale, height * scale)


def crop_box(frame: FrameSize, place: Place, width: float, height: float) -> Box:
    """Return the box of a crop of the given size at a place of a frame."""
    i, j = place
    x = i * (frame.width - width) / 4
    y = j * (frame.height - height) / 4
    return x, y, width, height


def crop_and_resize(
    image: np.ndarray, box: Box, size_px: int, frame: FrameSize = TSN_FRAME
) -> np.ndarray:
    """Cut a box out of an image (H, W, C) of any size, and resize it to (size, size, C).

    Args:
        image: of at least one channel.
        box: in the coordinates of `frame`.
        size_px: side of the result.
        frame: that the image is taken for.
    """
    scale_x = image.shape[1] / frame.width
    scale_y = image.shape[0] / frame.height
    x, y, width, height = box
    left = round(x * scale_x)
    top = round(y * scale_y)
    right = max(left + 1, round((x + width) * scale_x))
    bottom = max(top + 1, round((y + height) * scale_y))
    region = image[top:bottom, left:right]
    shrinks = region.shape[0] > size_px and region.shape[1] > size_px
    how = {
        "dsize": (size_px, size_px),
        "interpolation": cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR,
    }
    if image.shape[2] <= 4:
        # OpenCV drops a single channel.
        return cv2.resize(region, **how).reshape(size_px, size_px, -1)
    # It takes four channels at most.
    groups = [cv2.resize(region[..., i : i + 4], **how) for i in range(0, image.shape[2], 4)]
    return np.concatenate(groups, axis=-1)


def negate_x(flow: np.ndarray) -> np.ndarray:
    """Return stored flow (..., 2 L) with x turned round, as in a mirrored picture."""
    flow = flow.copy()
    flow[..., 0::2] = 255 - flow[..., 0::2]
    return flow


def center_crop(frames: np.ndarray, size_px: int, keep_proportions: bool = False) -> np.ndarray:
    """Return the middle 224 of 256 of frames (n, H, W, C), as (n, size, size, C)."""
    return _crops(frames, CENTRE_PLACE, size_px, keep_proportions)


def each_crop(
    frames: np.ndarray,
    size_px: int,
    mirror: bool,
    flow: bool = False,
    keep_proportions: bool = False,
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield number and pixels (n, size, size, C) of each of a video's ten crops, or five.

    0 is the centre, 1 to 4 the corners, 5 to 9 the same five mirrored. A mirrored one comes after
    the one that it mirrors, so that not more than one of the five is in memory.

    Args:
        frames: (n, H, W, C).
        size_px: side of a crop.
        mirror: yield the mirrored ones too.
        flow: frames are stored flow, whose x components turn round when mirrored.
        keep_proportions: see `frame_size`.
    """
    for number, place in enumerate(FIVE_PLACES):
        crop = _crops(frames, place, size_px, keep_proportions)
        yield number, crop
        if mirror:
            mirrored = crop[:, :, ::-1]
            yield len(FIVE_PLACES) + number, negate_x(mirrored) if flow else mirrored


def five_crops(frames: np.ndarray, size_px: int, keep_proportions: bool = False) -> np.ndarray:
    """Return centre and four corners of frames (n, H, W, C), as (5, n, size, size, C)."""
    crops = each_crop(frames, size_px, mirror=False, keep_proportions=keep_proportions)
    return np.stack([crop for _, crop in crops])


def ten_crops(
    frames: np.ndarray, size_px: int, flow: bool = False, keep_proportions: bool = False
) -> np.ndarray:
    """Return the five crops of frames (n, H, W, C), then the same mirrored.

    They are (10, n, size, size, C).
    """
    crops = dict(each_crop(frames, size_px, True, flow, keep_proportions))
    return np.stack([crops[number] for number in sorted(crops)])


def _crops(frames: np.ndarray, place: Place, size_px: int, keep_proportions: bool) -> np.ndarray:
    """Return the crop at one place of frames (n, H, W, C), (n, size, size, C)."""
    frame = frame_size(frames[0], keep_proportions)
    box = crop_box(frame, place, CROP_PX, CROP_PX)
    crops = []
    for one in frames:
        crops.append(crop_and_resize(one, box, size_px, frame))
    return np.stack(crops)


def as_planes(crops: np.ndarray) -> np.ndarray:
    """Return pictures (n, H, W, C) as (n, C, H, W), each channel on its own and contiguous.

    OpenCV takes a quarter of the time that NumPy's copy does.
    """
    number, height, width, channels = crops.shape
    planes = np.empty((number, channels, height, width), crops.dtype)
    for picture, of_picture in zip(crops, planes, strict=True):
        cv2.split(np.ascontiguousarray(picture), list(of_picture))
    return planes


def crop_masks(
    masks: np.ndarray,
    frame_indices: Sequence[int],
    size_px: int,
    keep_proportions: bool = False,
) -> np.ndarray:
    """Return ground truth as the network sees the frames: each pixel's share inside.

    Args:
        masks: of every frame, bool (T, H, W), see `VideoDataset.actor_mask`.
        frame_indices: the n sampled frames.
        size_px: side of the crops.
        keep_proportions: see `frame_size`.

    Returns:
        float32 (n, size, size), of the centre crop.
    """
    seen = masks[np.asarray(frame_indices)].astype(np.float32)[..., None]
    return center_crop(seen, size_px, keep_proportions)[..., 0]
