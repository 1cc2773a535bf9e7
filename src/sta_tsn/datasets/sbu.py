"""SBU Kinect Interaction: 282 skeleton sequences of two persons, 8 classes, five folds.

The folds divide 21 ordered pairs of 7 actors. Layout:
`<pair>/<class 01 to 08>/<take>/skeleton_pos.txt`; the archive of a pair holds RGB and depth
pictures beside it, which are not read. Folds as all publications use them (test fold k, learn from
the other four). Group = pair: validation is carved out by pair. The pairs share actors, so an actor
of the test fold is seen in training in another pair: such is the protocol. Citation: Yun, Honorio,
Chattopadhyay, Berg, Samaras, "Two-person Interaction Detection Using Body-Pose Features and
Multiple Instance Learning", CVPR Workshops 2012. Page and terms:
http://www3.cs.stonybrook.edu/~kyun/research/kinect_interaction
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sta_tsn.datasets.records import OfficialSplit, VideoRecord
from sta_tsn.datasets.skeletons import Skeleton, SkeletonDataset, read_sbu_skeleton
from sta_tsn.errors import DatasetError

FOLDS = (
    ("s01s02", "s03s04", "s05s02", "s06s04"),
    ("s02s03", "s02s07", "s03s05", "s05s03"),
    ("s01s03", "s01s07", "s07s01", "s07s03"),
    ("s02s01", "s02s06", "s03s02", "s03s06"),
    ("s04s02", "s04s03", "s04s06", "s06s02", "s06s03"),
)
CLASSES = (
    "approaching",
    "departing",
    "kicking",
    "pushing",
    "shaking hands",
    "hugging",
    "exchanging object",
    "punching",
)


class SBU(SkeletonDataset):
    """Read SBU, see `SkeletonDataset`."""

    layout = "  <pair>/<class 01 to 08>/<take>/skeleton_pos.txt, pairs s01s02 to s07s03 (21)"
    num_splits = 5
    published_classes = 8
    published_videos = 282
    published_splits = ((227, 55), (230, 52), (226, 56), (228, 54), (217, 65))
    cross_validated = True
    page = "http://www3.cs.stonybrook.edu/~kyun/research/kinect_interaction"
    by_hand = (
        "one archive per pair of actors (s01s02 and so on), unpacked side by side; "
        "of each take only skeleton_pos.txt is read"
    )
    num_persons = 2
    skeleton = Skeleton(
        joints=(
            "head",
            "neck",
            "torso",
            "left_shoulder",
            "left_elbow",
            "left_hand",
            "right_shoulder",
            "right_elbow",
            "right_hand",
            "left_hip",
            "left_knee",
            "left_foot",
            "right_hip",
            "right_knee",
            "right_foot",
        ),
        bones=(
            (0, 1),
            (1, 2),
            (1, 3),
            (3, 4),
            (4, 5),
            (1, 6),
            (6, 7),
            (7, 8),
            (2, 9),
            (9, 10),
            (10, 11),
            (2, 12),
            (12, 13),
            (13, 14),
        ),
        torso=2,
    )

    def _read_classes(self) -> list[str]:
        return list(CLASSES)

    def records(self, split: int) -> OfficialSplit:
        self.check_split(split)
        train: list[VideoRecord] = []
        test: list[VideoRecord] = []
        for fold, pairs in enumerate(FOLDS, 1):
            side = test if fold == split else train
            for pair in pairs:
                side.extend(self._of_pair(pair))
        return OfficialSplit(train, test)

    def _of_pair(self, pair: str) -> Iterator[VideoRecord]:
        """Yield what lies in the folder, which is the list: SBU publishes none."""
        numbers = [f"{label:02d}" for label in range(1, len(CLASSES) + 1)]
        for folder in _folders_in(self.require(pair)):
            if folder.name not in numbers:
                raise DatasetError(
                    f"{folder}: class {folder.name!r} is not one of 01 to {numbers[-1]}"
                )
            label = numbers.index(folder.name)
            for take in _folders_in(folder):
                path = take / "skeleton_pos.txt"
                yield VideoRecord(f"{folder.name}/{pair}_{take.name}", path, (label,), pair)

    def read(self, path: Path) -> np.ndarray:
        """Return a take's joints (T, 2, 15, 3) in metres; see `read_sbu_skeleton`."""
        return read_sbu_skeleton(path)


def _folders_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir())
