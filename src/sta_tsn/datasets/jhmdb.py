"""JHMDB: 21 classes, 928 clips cut from HMDB51, three official splits, puppet masks.

Clips are 320x240 and have 15 to 40 frames. Layout: `ReCompress_Videos/<class>/<clip>.avi`,
`splits/<class>_test_split{1,2,3}.txt` (HMDB51's list format, without unused clips) and, for scoring
spatial attention, `puppet_mask/<class>/<clip>/puppet_mask.mat` (`part_mask` uint8 (240, 320,
frames), 1 = the actor). Splits by the dataset's authors: 660/268, 658/270, 663/265. Citation:
Jhuang, Gall, Zuffi, Schmid, Black, "Towards Understanding Action Recognition", ICCV 2013. Page and
licence: http://jhmdb.is.tue.mpg.de
"""

import numpy as np

from sta_tsn.datasets.hmdb51 import HMDB51
from sta_tsn.datasets.records import Archive, VideoRecord
from sta_tsn.errors import DatasetError


class JHMDB(HMDB51):
    """Read JHMDB, see `VideoDataset`."""

    layout = (
        "  ReCompress_Videos/<class>/<clip>.avi\n  splits/<class>_test_split{1,2,3}.txt\n"
        "  puppet_mask/<class>/<clip>/puppet_mask.mat (to score attention)"
    )
    published_classes = 21
    published_videos = 928
    published_splits = ((660, 268), (658, 270), (663, 265))
    videos_folder = "ReCompress_Videos"
    lists_folder = "splits"
    page = "http://jhmdb.is.tue.mpg.de"
    archives = tuple(
        Archive(f"http://files.is.tue.mpg.de/jhmdb/{name}.zip")
        for name in ("splits", "JHMDB_video", "puppet_mask")
    )

    def actor_mask(self, record: VideoRecord) -> np.ndarray | None:
        """Return the puppet mask; None where the masks were not unpacked.

        Raises:
            DatasetError: the file cannot be read, or does not fit the video's frames.
        """
        from scipy.io import loadmat

        path = self.root / "puppet_mask" / record.id / "puppet_mask.mat"
        if not path.exists():
            return None
        try:
            mask = np.moveaxis(loadmat(path)["part_mask"], -1, 0) > 0
        except Exception as error:  # scipy raises KeyError to zlib.error on a damaged file
            raise DatasetError(
                f"{path}: no puppet mask can be read from it ({error}); "
                "unpack puppet_mask.zip again"
            ) from error
        if record.num_frames and len(mask) != record.num_frames:
            raise DatasetError(
                f"{path}: {len(mask)} masks for {record.num_frames} frames that decode"
            )
        return mask
