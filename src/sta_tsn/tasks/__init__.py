"""LightningModules: losses, optimisers and metrics around the pure modules of `models`."""

from sta_tsn.tasks.backbone import MotionBackbone, SpatialAttentionBackbone
from sta_tsn.tasks.injection import InjectionBackbone
from sta_tsn.tasks.probe import ProbeGrid
from sta_tsn.tasks.probes import (
    AttentiveProbing,
    FocusProbing,
    KeyFrameProbing,
    LinearProbing,
    NeighbourProbing,
)
from sta_tsn.tasks.recognition import ActionRecognition
from sta_tsn.tasks.skeleton import SkeletonAttention
from sta_tsn.tasks.temporal import TemporalAttentionTSN

__all__ = [
    "ActionRecognition",
    "AttentiveProbing",
    "FocusProbing",
    "InjectionBackbone",
    "KeyFrameProbing",
    "LinearProbing",
    "MotionBackbone",
    "NeighbourProbing",
    "ProbeGrid",
    "SkeletonAttention",
    "SpatialAttentionBackbone",
    "TemporalAttentionTSN",
]
