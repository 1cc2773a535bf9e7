"""Your own videos: one folder per class, a random test split that never divides a group."""

import re
from pathlib import Path

from sta_tsn.datasets.records import OfficialSplit, VideoDataset, VideoRecord, hold_out_groups
from sta_tsn.errors import DatasetError


class Folder(VideoDataset):
    """`root/<class>/<any file>`; hidden files are left out, everything else is held to be a video.

    A group is what files of a class share when a trailing clip number is taken off their name: `match7_c01.mp4`
    and `match7_c02.mp4` are group `match7` (also `_clip1`, `_part1`). Give clips of one recording such names;
    any other file is a group of its own.

    Args:
        root: the folder of class folders.
        test_share: share of each class held out for testing.
        seed: of the random split; splits 2 and 3 are further draws.
    """

    layout = "  <class>/<video>.mp4 (or avi, mkv, mov, mpg, webm, ...), at least two classes"
    num_splits = 3

    def __init__(self, root: str, test_share: float = 0.25, seed: int = 0):
        super().__init__(root)
        self.test_share, self.seed = test_share, seed

    def _read_classes(self) -> list[str]:
        classes = sorted(path.name for path in self.root.iterdir() if path.is_dir() and not path.name.startswith("."))
        if len(classes) < 2:
            raise DatasetError(f"Folder: {self.root.resolve()} holds {len(classes)} class folders.\n{self._remedy()}")
        return classes

    def records(self, split: int) -> OfficialSplit:
        self.check_split(split)
        everything = [
            VideoRecord(f"{folder}/{path.name}", path, (label,), f"{folder}/{_group(path)}")
            for label, folder in enumerate(self.classes)
            for path in sorted((self.root / folder).iterdir())
            if path.is_file() and not path.name.startswith(".")
        ]
        return OfficialSplit(*hold_out_groups(everything, self.test_share, seed=self.seed * 1000 + split))


def _group(path: Path) -> str:
    return re.sub(r"[_\-. ]+(c|clip|part)\d+$", "", path.stem, flags=re.IGNORECASE) or path.stem
