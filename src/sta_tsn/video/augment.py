"""TSN's augmentation of training clips, as albumentations transforms: corner crops and flips.

Kept apart from `crops`, which prediction needs: albumentations takes a second to import.
"""

import albumentations as A
import numpy as np

from sta_tsn.video.crops import (
    CROP_PX,
    RGB_SCALES,
    SHORT_SIDE_PX,
    THIRTEEN_PLACES,
    Place,
    crop_and_resize,
    crop_box,
    frame_size,
    negate_x,
)


class MultiScaleCornerCrop(A.DualTransform):
    """TSN's crop augmentation, one draw for all frames of a clip.

    Width and height are scaled independently; the crop lies at one of 13 fixed places.

    Args:
        size_px: side of the square result.
        scales: of the frame's short side (256). Width and height take neighbouring scales at most.
        keep_proportions: see `frame_size`.
    """

    def __init__(
        self,
        size_px: int = CROP_PX,
        scales: tuple[float, ...] = RGB_SCALES,
        keep_proportions: bool = False,
        p: float = 1.0,
    ):
        super().__init__(p=p)
        self.size_px = size_px
        self.scales = tuple(scales)
        self.keep_proportions = keep_proportions

    def get_params(self) -> dict:
        pairs = []
        for i, scale_w in enumerate(self.scales):
            for j, scale_h in enumerate(self.scales):
                if abs(i - j) <= 1:
                    pairs.append((scale_w, scale_h))
        scale_w, scale_h = self.py_random.choice(pairs)
        size = (scale_w * SHORT_SIDE_PX, scale_h * SHORT_SIDE_PX)
        return {"crop_size": size, "place": self.py_random.choice(THIRTEEN_PLACES)}

    def apply(
        self, img: np.ndarray, crop_size: tuple[float, float], place: Place, **params
    ) -> np.ndarray:
        frame = frame_size(img, self.keep_proportions)
        return crop_and_resize(img, crop_box(frame, place, *crop_size), self.size_px, frame)

    def apply_to_images(
        self, images: np.ndarray, crop_size: tuple[float, float], place: Place, **params
    ) -> np.ndarray:
        return np.stack([self.apply(image, crop_size, place) for image in images])


class FlowHorizontalFlip(A.HorizontalFlip):
    """Mirror stored flow, x components negated."""

    def apply(self, img: np.ndarray, **params) -> np.ndarray:
        return negate_x(img[:, ::-1])

    def apply_to_images(self, images: np.ndarray, **params) -> np.ndarray:
        return negate_x(images[:, :, ::-1])


def training_augmentation(
    size_px: int,
    scales: tuple[float, ...] = RGB_SCALES,
    flow: bool = False,
    mirror: bool = True,
    keep_proportions: bool = False,
) -> A.Compose:
    """Return the corner crop and, with `mirror`, a flip of every other clip.

    Seed it for each sample: forked workers would repeat one another's draws.
    """
    steps = [MultiScaleCornerCrop(size_px, scales, keep_proportions)]
    if mirror:
        steps.append(FlowHorizontalFlip(p=0.5) if flow else A.HorizontalFlip(p=0.5))
    return A.Compose(steps)
