"""LightningModules: losses, optimisers and metrics around the pure modules of `models`."""

from sta_tsn.tasks.backbone import MotionBackbone, SpatialAttentionBackbone
from sta_tsn.tasks.injection import InjectionBackbone
from sta_tsn.tasks.recognition import ActionRecognition
from sta_tsn.tasks.skeleton import SkeletonAttention
from sta_tsn.tasks.temporal import TemporalAttentionTSN

__all__ = [
    "ActionRecognition", "InjectionBackbone", "MotionBackbone", "SkeletonAttention", "SpatialAttentionBackbone", "TemporalAttentionTSN",
]  # fmt: skip
