"""JHMDB's annotated joints: 928 sequences of one person, with JHMDB's classes and splits.

There are 15 joints in the picture's plane. Layout:
`joint_positions/<class>/<clip>/joint_positions.mat` (`pos_img` (2, 15, frames): x and y in pixels,
from the left and from the top) and `splits/<class>_test_split{1,2,3}.txt`. The joints were placed
by people with a puppet, so accuracies on them say what a perfect pose estimator would give.
Citation, page and licence: see `jhmdb`.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from sta_tsn.datasets.jhmdb import JHMDB
from sta_tsn.datasets.records import Archive, VideoRecord
from sta_tsn.datasets.skeletons import Skeleton, SkeletonDataset
from sta_tsn.errors import DatasetError


class JHMDBJoints(JHMDB, SkeletonDataset):
    """Read JHMDB's joints, see `SkeletonDataset`."""

    layout = (
        "  joint_positions/<class>/<clip>/joint_positions.mat\n"
        "  splits/<class>_test_split{1,2,3}.txt"
    )
    videos_folder = "joint_positions"
    archives = tuple(
        Archive(f"http://files.is.tue.mpg.de/jhmdb/{name}.zip")
        for name in ("splits", "joint_positions")
    )
    num_persons = 1
    skeleton = Skeleton(
        joints=(
            "neck",
            "belly",
            "face",
            "right_shoulder",
            "left_shoulder",
            "right_hip",
            "left_hip",
            "right_elbow",
            "left_elbow",
            "right_knee",
            "left_knee",
            "right_wrist",
            "left_wrist",
            "right_ankle",
            "left_ankle",
        ),
        bones=(
            (0, 1),
            (0, 2),
            (0, 3),
            (0, 4),
            (1, 5),
            (1, 6),
            (3, 7),
            (4, 8),
            (5, 9),
            (6, 10),
            (7, 11),
            (8, 12),
            (9, 13),
            (10, 14),
        ),
        torso=1,
    )

    def _record(self, folder: str, label: int, name: str) -> VideoRecord:
        record = super()._record(folder, label, name)
        return replace(record, path=record.path.with_suffix("") / "joint_positions.mat")

    def read(self, path: Path) -> np.ndarray:
        """Return a clip's joints (T, 1, 15, 3): pixels, y up, z 0.

        Raises:
            DatasetError: no joints can be read, another number of joints, a value that is not
                finite, or a frame of zeros.
        """
        from scipy.io import loadmat

        try:
            positions = np.asarray(loadmat(path)["pos_img"], np.float32)
        except Exception as error:  # scipy raises KeyError to zlib.error on a damaged file
            raise DatasetError(
                f"{path}: no joints can be read from it ({error}); unpack joint_positions.zip again"
            ) from error
        joints = len(self.skeleton.joints)
        if positions.ndim != 3 or positions.shape[:2] != (2, joints) or not positions.shape[2]:
            raise DatasetError(
                f"{path}: pos_img is {positions.shape}; (2, {joints}, frames) is expected"
            )
        if not np.isfinite(positions).all():
            frame, joint, _ = np.argwhere(~np.isfinite(positions.T))[0]
            raise DatasetError(
                f"{path}: {self.skeleton.joints[joint]} in frame {frame + 1} is "
                f"{positions[:, joint, frame]}"
            )
        empty = np.flatnonzero(~positions.any((0, 1)))
        if len(empty):
            raise DatasetError(
                f"{path}: every joint of frame {empty[0] + 1} is 0, so nobody was annotated"
            )
        flat = np.zeros((positions.shape[2], 1, joints, 3), np.float32)
        flat[:, 0, :, :2] = positions.T * np.float32([1, -1])
        return flat
