"""How pixels and flow arrive.

Which frames (`sampling`), decoding (`reader`), optical flow (`flow`),
crops (`augment`), a video as a clip (`clips`), batches (`datamodule`).
"""

from sta_tsn.video.augment import (
    MultiScaleCornerCrop,
    center_crop,
    crop_masks,
    ten_crops,
    training_augmentation,
)
from sta_tsn.video.clips import ClipDataset, multi_hot
from sta_tsn.video.datamodule import SeededSampler, VideoDataModule
from sta_tsn.video.flow.flow_files import dequantize_flow, quantize_flow
from sta_tsn.video.flow.flow_store import FlowStore
from sta_tsn.video.flow.tvl1 import tvl1_flow
from sta_tsn.video.reader import VideoReader
from sta_tsn.video.sampling import SegmentSampler

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
