"""How pixels and flow arrive.

Which frames (`sampling`), decoding (`reader`), optical flow (`flow`),
crops (`crops`, in training `augment`), a video as a clip (`clips`), batches (`datamodule`).
"""

from importlib import import_module
from typing import TYPE_CHECKING

from sta_tsn.video.clips import ClipDataset, multi_hot
from sta_tsn.video.crops import center_crop, crop_masks, ten_crops
from sta_tsn.video.flow.flow_files import dequantize_flow, quantize_flow
from sta_tsn.video.flow.flow_store import FlowStore
from sta_tsn.video.flow.tvl1 import tvl1_flow
from sta_tsn.video.reader import VideoReader
from sta_tsn.video.sampling import SegmentSampler

if TYPE_CHECKING:
    from sta_tsn.video.augment import MultiScaleCornerCrop, training_augmentation
    from sta_tsn.video.datamodule import SeededSampler, VideoDataModule

# Loaded on first use: albumentations and Lightning take seconds, and prediction needs neither.
_FOR_TRAINING = {
    "MultiScaleCornerCrop": "augment",
    "SeededSampler": "datamodule",
    "VideoDataModule": "datamodule",
    "training_augmentation": "augment",
}

__all__ = [
    "ClipDataset",
    "FlowStore",
    "MultiScaleCornerCrop",
    "SeededSampler",
    "SegmentSampler",
    "VideoDataModule",
    "VideoReader",
    "center_crop",
    "crop_masks",
    "dequantize_flow",
    "multi_hot",
    "quantize_flow",
    "ten_crops",
    "training_augmentation",
    "tvl1_flow",
]  # fmt: skip


def __getattr__(name: str):
    if name not in _FOR_TRAINING:
        raise AttributeError(f"module 'sta_tsn.video' has no attribute {name!r}")
    return getattr(import_module(f"sta_tsn.video.{_FOR_TRAINING[name]}"), name)
