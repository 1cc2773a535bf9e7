"""Pure `nn.Module`s, one file per idea of the paper; no Lightning, no data.

Letters of the shape comments: B videos, N segments, T frames per segment, C channels, S input
pixels, H x W map positions, D feature width, K classes.
"""

from sta_tsn.models.attentive_probe import AttentiveProbe
from sta_tsn.models.focus_probe import FocusProbe
from sta_tsn.models.head_grid import HeadGrid
from sta_tsn.models.key_frame_probe import KeyFrameProbe
from sta_tsn.models.linear_probe import LinearProbe
from sta_tsn.models.map_backbone import CNN, Backbone
from sta_tsn.models.nearest_neighbours import NeighbourGrid
from sta_tsn.models.probed_network import MapEncoder, ProbedNetwork
from sta_tsn.models.smnet import SMNet
from sta_tsn.models.spatial_attention import SpatialAttention, SpatialPyramidPooling
from sta_tsn.models.sta_lstm import (
    STALSTM,
    frame_attention_regularization,
    joint_attention_regularization,
)
from sta_tsn.models.sta_tsn import STATSN
from sta_tsn.models.stin import STIN
from sta_tsn.models.temporal_attention import KeyFrameAttention, temporal_attention_regularization
from sta_tsn.models.tsn import TSN, ActionOutput, FrameEncoder

__all__ = [
    "CNN",
    "STALSTM",
    "STATSN",
    "STIN",
    "TSN",
    "ActionOutput",
    "AttentiveProbe",
    "Backbone",
    "FocusProbe",
    "FrameEncoder",
    "HeadGrid",
    "KeyFrameAttention",
    "KeyFrameProbe",
    "LinearProbe",
    "MapEncoder",
    "NeighbourGrid",
    "ProbedNetwork",
    "SMNet",
    "SpatialAttention",
    "SpatialPyramidPooling",
    "frame_attention_regularization",
    "joint_attention_regularization",
    "temporal_attention_regularization",
]
