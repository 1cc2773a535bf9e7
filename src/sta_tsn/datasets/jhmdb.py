"""JHMDB: 21 classes, 928 clips of 320x240 and 15 to 40 frames, three official splits.

Splits by the dataset's authors (660/268, 658/270, 663/265 train/test): one list per class and split, each
line `<clip>.avi 1` (train) or `2` (test). Group = the HMDB51 source video, the file name without its
trailing `_<class>_<visibility>_..._<number>`. Citation: Jhuang, Gall, Zuffi, Schmid, Black, "Towards
Understanding Action Recognition", ICCV 2013. Page, archives JHMDB_video.zip and splits.zip, and licence:
http://jhmdb.is.tue.mpg.de
"""

from sta_tsn.datasets.records import OfficialSplit, VideoDataset, VideoRecord
from sta_tsn.errors import DatasetError


class JHMDB(VideoDataset):
    """See `VideoDataset`."""

    layout = "  ReCompress_Videos/<class>/<clip>.avi\n  splits/<class>_test_split{1,2,3}.txt"
    num_splits = 3

    def _read_classes(self) -> list[str]:
        suffix = "_test_split1.txt"
        classes = sorted(path.name.removesuffix(suffix) for path in self.require("splits").glob(f"*{suffix}"))
        if not classes:
            raise DatasetError(f"JHMDB: no *{suffix} in {(self.root / 'splits').resolve()}.\n{self._remedy()}")
        return classes

    def records(self, split: int) -> OfficialSplit:
        self.check_split(split)
        sides: dict[str, list[VideoRecord]] = {"1": [], "2": []}
        for label, folder in enumerate(self.classes):
            path = self.require(f"splits/{folder}_test_split{split}.txt")
            for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
                if not line.strip():
                    continue
                name, _, side = line.strip().rpartition(" ")
                if side not in sides or "/" in name or not name:
                    raise DatasetError(f"{path}, line {number}: {line!r} is not '<clip>.avi 1' or '<clip>.avi 2'")
                sides[side].append(self._record(folder, label, name))
        return OfficialSplit(train=sides["1"], test=sides["2"])

    def _record(self, folder: str, label: int, name: str) -> VideoRecord:
        stem = name.rpartition(".")[0]
        group = stem.rpartition(f"_{folder}_")[0] or stem
        return VideoRecord(f"{folder}/{stem}", self.root / "ReCompress_Videos" / folder / name, (label,), group)
