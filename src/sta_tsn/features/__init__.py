"""Between the stages: features written once per video, the judgement of training frames, and their batches."""

from sta_tsn.features.datamodule import FeatureDataModule
from sta_tsn.features.extraction import extract_features
from sta_tsn.features.feature_store import FeatureStore
from sta_tsn.features.frame_judgement import fit_frame_classifiers, judge_frames

__all__ = [
    "FeatureDataModule",
    "FeatureStore",
    "extract_features",
    "fit_frame_classifiers",
    "judge_frames",
]
