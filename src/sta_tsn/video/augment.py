"""Crops of TSN, each a single resize from the source frame: no 340x256 frame is ever made.

TSN crops from frames resized to 340x256. Here a crop box is laid out in that frame and mapped to the source
pixels, so cropping and resizing are one cv2 call. Sizes are relative to 256: a backbone with a 224 px input
crops 224 of 256, one with S px crops the same share.
"""

from collections.abc import Sequence

import albumentations as A
import cv2
import numpy as np

FRAME_WIDTH_PX, FRAME_HEIGHT_PX = 340, 256
CROP_PX = 224
RGB_SCALES = (1.0, 0.875, 0.75, 0.66)
FLOW_SCALES = (1.0, 0.875, 0.75)

Box = tuple[float, float, float, float]  # x, y, width, height in the 340x256 frame


def crop_and_resize(image: np.ndarray, box: Box, size_px: int) -> np.ndarray:
    """Cut `box` (in 340x256 coordinates) out of `image` (H, W, C) of any size, as (size, size, C)."""
    scale_x, scale_y = image.shape[1] / FRAME_WIDTH_PX, image.shape[0] / FRAME_HEIGHT_PX
    x, y, width, height = box
    left, top = round(x * scale_x), round(y * scale_y)
    right, bottom = (
        max(left + 1, round((x + width) * scale_x)),
        max(top + 1, round((y + height) * scale_y)),
    )
    region = image[top:bottom, left:right]
    shrinks = region.shape[0] > size_px and region.shape[1] > size_px
    how = {
        "dsize": (size_px, size_px),
        "interpolation": cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR,
    }
    if image.shape[2] <= 4:
        return cv2.resize(region, **how).reshape(
            size_px, size_px, -1
        )  # OpenCV drops a single channel
    groups = [
        cv2.resize(region[..., i : i + 4], **how) for i in range(0, image.shape[2], 4)
    ]  # it takes four channels at most
    return np.concatenate(groups, axis=-1)


class MultiScaleCornerCrop(A.DualTransform):
    """TSN's crop augmentation: width and height scaled independently, 13 fixed positions, one draw per clip.

    Args:
        size_px: side of the square result.
        scales: of the frame's short side (256). Width and height take neighbouring scales at most.
    """

    def __init__(
        self, size_px: int = CROP_PX, scales: tuple[float, ...] = RGB_SCALES, p: float = 1.0
    ):
        super().__init__(p=p)
        self.size_px, self.scales = size_px, tuple(scales)

    def get_params(self) -> dict:
        pairs = [
            (w, h)
            for i, w in enumerate(self.scales)
            for j, h in enumerate(self.scales)
            if abs(i - j) <= 1
        ]
        scale_w, scale_h = self.py_random.choice(pairs)
        width, height = scale_w * FRAME_HEIGHT_PX, scale_h * FRAME_HEIGHT_PX
        x, y = self.py_random.choice(corner_offsets(width, height))
        return {"box": (x, y, width, height)}

    def apply(self, img: np.ndarray, box: Box, **params) -> np.ndarray:
        return crop_and_resize(img, box, self.size_px)

    def apply_to_images(self, images: np.ndarray, box: Box, **params) -> np.ndarray:
        return np.stack([crop_and_resize(image, box, self.size_px) for image in images])


def corner_offsets(width: float, height: float) -> list[tuple[float, float]]:
    """TSN's 13 top-left corners: 4 corners, centre, 4 edge centres, 4 quarter points."""
    x, y = (FRAME_WIDTH_PX - width) / 4, (FRAME_HEIGHT_PX - height) / 4
    steps = [(0, 0), (4, 0), (0, 4), (4, 4), (2, 2)]
    steps += [(0, 2), (4, 2), (2, 4), (2, 0)]
    steps += [(1, 1), (3, 1), (1, 3), (3, 3)]
    return [(i * x, j * y) for i, j in steps]


def negate_x(flow: np.ndarray) -> np.ndarray:
    """Stored flow (..., 2 L) whose x components point the other way, as a mirrored picture's do."""
    flow = flow.copy()
    flow[..., 0::2] = 255 - flow[..., 0::2]
    return flow


class FlowHorizontalFlip(A.HorizontalFlip):
    """Mirrors stored flow, x components negated."""

    def apply(self, img: np.ndarray, **params) -> np.ndarray:
        return negate_x(img[:, ::-1])

    def apply_to_images(self, images: np.ndarray, **params) -> np.ndarray:
        return negate_x(images[:, :, ::-1])


def training_augmentation(
    size_px: int, scales: tuple[float, ...] = RGB_SCALES, flow: bool = False, mirror: bool = True
) -> A.Compose:
    """Corner crop and, with `mirror`, a flip of every other clip. Seed it per sample: forked workers would repeat one another's draws."""
    flip = FlowHorizontalFlip(p=0.5) if flow else A.HorizontalFlip(p=0.5)
    return A.Compose([MultiScaleCornerCrop(size_px, scales), *([flip] if mirror else [])])


def center_crop(frames: np.ndarray, size_px: int) -> np.ndarray:
    """(n, H, W, C) -> (n, size, size, C): the middle 224 of 340x256."""
    box = ((FRAME_WIDTH_PX - CROP_PX) / 2, (FRAME_HEIGHT_PX - CROP_PX) / 2, CROP_PX, CROP_PX)
    return np.stack([crop_and_resize(frame, box, size_px) for frame in frames])


def five_crops(frames: np.ndarray, size_px: int) -> np.ndarray:
    """(n, H, W, C) -> (5, n, size, size, C): centre and four corners."""
    corners = [(2, 2), (0, 0), (4, 0), (0, 4), (4, 4)]
    x, y = (FRAME_WIDTH_PX - CROP_PX) / 4, (FRAME_HEIGHT_PX - CROP_PX) / 4
    boxes = [(i * x, j * y, CROP_PX, CROP_PX) for i, j in corners]
    return np.stack([[crop_and_resize(frame, box, size_px) for frame in frames] for box in boxes])


def ten_crops(frames: np.ndarray, size_px: int, flow: bool = False) -> np.ndarray:
    """(n, H, W, C) -> (10, n, size, size, C): centre and four corners, then the same five mirrored."""
    crops = five_crops(frames, size_px)
    mirrored = crops[:, :, :, ::-1]
    return np.concatenate([crops, negate_x(mirrored) if flow else mirrored])


def crop_masks(masks: np.ndarray, frame_indices: Sequence[int], size_px: int) -> np.ndarray:
    """Ground truth as the network sees the frames: bool (T, H, W) -> float32 (n, size, size) of the centre crop, each pixel's share inside.

    Args:
        masks: of every frame, see `VideoDataset.actor_mask`.
        frame_indices: the n sampled frames.
    """
    return center_crop(masks[np.asarray(frame_indices)].astype(np.float32)[..., None], size_px)[
        ..., 0
    ]
