"""Between the stages: features written once per video, the judgement of training frames, and their batches."""

from sta_tsn.features.datamodule import FeatureDataModule
from sta_tsn.features.extract import extract_features
from sta_tsn.features.frame_classifiers import fit_frame_classifiers, judge_frames
from sta_tsn.features.store import FeatureStore

__all__ = ["FeatureDataModule", "FeatureStore", "extract_features", "fit_frame_classifiers", "judge_frames"]
