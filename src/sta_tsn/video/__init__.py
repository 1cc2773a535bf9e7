"""How pixels arrive: which frames (`sampling`), decoding (`reader`), crops (`augment`), batches (`datamodule`)."""

from sta_tsn.video.augment import MultiScaleCornerCrop, center_crop, crop_masks, ten_crops, training_augmentation
from sta_tsn.video.datamodule import ClipDataset, SeededSampler, VideoDataModule, multi_hot
from sta_tsn.video.reader import VideoReader
from sta_tsn.video.sampling import SegmentSampler

__all__ = [
    "ClipDataset", "MultiScaleCornerCrop", "SeededSampler", "SegmentSampler", "VideoDataModule", "VideoReader",
    "center_crop", "crop_masks", "multi_hot", "ten_crops", "training_augmentation",
]  # fmt: skip
