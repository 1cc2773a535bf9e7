"""What is done to a skeleton sequence (T, P, J, 3), float32 numpy, before a network sees it."""

import numpy as np
from scipy.signal import savgol_filter

from sta_tsn.datasets import Skeleton


def centred(sequence: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Put the origin midway between the persons' torsos, over the whole sequence.

    Who moves where is kept.
    """
    return sequence - sequence[:, :, skeleton.torso].mean((0, 1))


def scaled(sequence: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Measure in units of the mean bone length, over the persons and the whole sequence.

    Children and giants look alike.
    """
    ends = sequence[:, :, list(skeleton.bones)]  # (T, P, bones, 2, 3)
    length = np.linalg.norm(ends[..., 0, :] - ends[..., 1, :], axis=-1).mean()
    return sequence / max(float(length), 1e-6)


def smoothed(sequence: np.ndarray, frames: int) -> np.ndarray:
    """Filter over time by a second-order Savitzky-Golay filter, `frames` wide (odd).

    Shorter sequences take the widest that fits.
    """
    width = min(frames, len(sequence) - 1 + len(sequence) % 2)
    if width <= 2:
        return sequence
    return savgol_filter(sequence, width, 2, axis=0).astype(np.float32)


def mirrored(sequence: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Mirror a sequence: x is negated, and the left hand is the right one."""
    return sequence[:, :, skeleton.mirrored] * np.float32([-1, 1, 1])


def swapped(sequence: np.ndarray) -> np.ndarray:
    """Put the persons into the other order."""
    return sequence[:, ::-1]


def turned(sequence: np.ndarray, degrees: float) -> np.ndarray:
    """Turn about the vertical axis through the origin, as if the camera had stood elsewhere."""
    angle = np.radians(degrees)
    sine = np.sin(angle)
    cosine = np.cos(angle)
    rotation = np.float32([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
    return sequence @ rotation


def normalised(
    sequence: np.ndarray, skeleton: Skeleton, centre: bool, scale: bool, smoothing_frames: int
) -> np.ndarray:
    """Do what is done to every sequence, in training and in testing.

    The arguments are `SkeletonDataModule`'s.
    """
    sequence = centred(sequence, skeleton) if centre else sequence
    sequence = scaled(sequence, skeleton) if scale else sequence
    return smoothed(sequence, smoothing_frames)
