"""What exists: files, labels, official splits, and which videos really decode.

`VideoDataset` is the one interface (classes, records of a split); one file per dataset. `manifest` counts the
frames, `split` makes the train, val and test lists. Nothing here knows about models.
"""

from sta_tsn.datasets.demo import Demo
from sta_tsn.datasets.folder import Folder
from sta_tsn.datasets.jhmdb import JHMDB
from sta_tsn.datasets.manifest import Manifest, ManifestRow, build_manifest, read_manifest
from sta_tsn.datasets.records import OfficialSplit, VideoDataset, VideoRecord, hold_out_groups
from sta_tsn.datasets.split import VideoSplit, prepare_split
from sta_tsn.datasets.ucf101 import UCF101

__all__ = [
    "JHMDB", "UCF101", "Demo", "Folder", "Manifest", "ManifestRow", "OfficialSplit", "VideoDataset", "VideoRecord",
    "VideoSplit", "build_manifest", "hold_out_groups", "prepare_split", "read_manifest",
]  # fmt: skip
