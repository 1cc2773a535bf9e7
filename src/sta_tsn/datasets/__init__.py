"""What exists: files, labels, official splits, and which videos really decode.

`VideoDataset` is the one interface (classes, records of a split, ground truth for attention); one
file per dataset. `manifest` counts the frames, `check` says what a folder holds, `split` makes the
train, val and test lists, `download` fetches archives. Nothing here knows about models.
"""

from sta_tsn.datasets.check import check_dataset
from sta_tsn.datasets.demo import Demo
from sta_tsn.datasets.folder import Folder
from sta_tsn.datasets.hmdb51 import HMDB51
from sta_tsn.datasets.jhmdb import JHMDB
from sta_tsn.datasets.jhmdb_joints import JHMDBJoints
from sta_tsn.datasets.kinetics400 import Kinetics400
from sta_tsn.datasets.manifest import Manifest, ManifestRow, build_manifest, read_manifest
from sta_tsn.datasets.records import OfficialSplit, VideoDataset, VideoRecord, hold_out_groups
from sta_tsn.datasets.sbu import SBU
from sta_tsn.datasets.skeletons import (
    Skeleton,
    SkeletonDataset,
    read_ntu_skeleton,
    read_sbu_skeleton,
    skeleton_manifest,
)
from sta_tsn.datasets.something import SomethingV1, SomethingV2
from sta_tsn.datasets.split import VideoSplit, moving_only, open_split, prepare_split
from sta_tsn.datasets.thumos14 import THUMOS14
from sta_tsn.datasets.ucf101 import UCF101

__all__ = [
    "HMDB51",
    "JHMDB",
    "SBU",
    "THUMOS14",
    "UCF101",
    "Demo",
    "Folder",
    "JHMDBJoints",
    "Kinetics400",
    "Manifest",
    "ManifestRow",
    "OfficialSplit",
    "Skeleton",
    "SkeletonDataset",
    "SomethingV1",
    "SomethingV2",
    "VideoDataset",
    "VideoRecord",
    "VideoSplit",
    "build_manifest",
    "check_dataset",
    "hold_out_groups",
    "moving_only",
    "open_split",
    "prepare_split",
    "read_manifest",
    "read_ntu_skeleton",
    "read_sbu_skeleton",
    "skeleton_manifest",
]
