"""Features written once per video, by a trained stage one or a frozen encoder.

And what is made of them: the judgement of training frames, batches of either kind.
"""

from sta_tsn.features.datamodule import FeatureDataModule
from sta_tsn.features.extraction import extract_features
from sta_tsn.features.feature_store import FeatureStore
from sta_tsn.features.frame_judgement import fit_frame_classifiers, judge_frames
from sta_tsn.features.frozen_batches import FrozenFeatureDataModule

__all__ = [
    "FeatureDataModule",
    "FeatureStore",
    "FrozenFeatureDataModule",
    "extract_features",
    "fit_frame_classifiers",
    "judge_frames",
]
