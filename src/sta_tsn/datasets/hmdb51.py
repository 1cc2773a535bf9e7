"""HMDB51: 51 classes, 6,766 clips of height 240 at 30 fps, three official splits.

A split has 70 training and 30 test clips a class. Layout: `hmdb51_org/<class>/<clip>.avi`
(hmdb51_org.rar holds one .rar a class) and
`testTrainMulti_7030_splits/<class>_test_split{1,2,3}.txt`, each line `<clip>.avi 1` (train), `2`
(test) or `0` (unused in this split). Names hold `!`, `(`, `&`, `+` and the like. Splits by the
dataset's authors: 3570/1530 three times. Group = the source video: the file name without its
trailing `_<class>_<visibility>_..._<number>`. Citation: Kuehne, Jhuang, Garrote, Poggio, Serre,
"HMDB: A Large Video Database for Human Motion Recognition", ICCV 2011. Page and licence (CC BY
4.0): https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database
"""

from pathlib import Path

from sta_tsn.datasets.lists import inside, read_lines, without_repeats
from sta_tsn.datasets.records import Archive, OfficialSplit, VideoDataset, VideoRecord
from sta_tsn.errors import DatasetError

UPLOADS = "https://serre-lab.clps.brown.edu/wp-content/uploads/2013/10"


class HMDB51(VideoDataset):
    """Read HMDB51, see `VideoDataset`; `videos_folder` and `lists_folder` lie below `root`."""

    layout = (
        "  hmdb51_org/<class>/<clip>.avi\n"
        "  testTrainMulti_7030_splits/<class>_test_split{1,2,3}.txt"
    )
    num_splits = 3
    published_classes = 51
    published_videos = 6766
    published_splits = ((3570, 1530),) * 3
    page = "https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database"
    archives = (  # checksums as torchvision and DeepMind's HMDB loader have them
        Archive(f"{UPLOADS}/test_train_splits.rar", "md5:15e67781e70dcfbdce2d7dbb9b3344b5"),
        Archive(f"{UPLOADS}/hmdb51_org.rar", "md5:517d6f1f19f215c45cdd4d25356be1fb", "hmdb51_org"),
    )
    videos_folder = "hmdb51_org"
    lists_folder = "testTrainMulti_7030_splits"

    def _read_classes(self) -> list[str]:
        folder = self.require(self.lists_folder)
        names = {path.name for path in folder.glob("*_test_split[123].txt")}
        own = {name for name in names if not name.startswith("._")}  # macOS makes such
        if not own:
            raise DatasetError(
                f"{self.name}: no *_test_split1.txt in {folder.resolve()}.\n{self._remedy()}"
            )
        return sorted({name.rpartition("_test_split")[0] for name in own})

    def records(self, split: int) -> OfficialSplit:
        sides = self._read_split(split)
        return OfficialSplit(train=sides["1"], test=sides["2"])

    def listed(self) -> list[VideoRecord]:
        """Return every clip, those that a split leaves unused too."""
        found = []
        for side in self._read_split(1).values():
            found.extend(side)
        return found

    def _read_split(self, split: int) -> dict[str, list[VideoRecord]]:
        self.check_split(split)
        sides: dict[str, list[VideoRecord]] = {"0": [], "1": [], "2": []}
        for label, folder in enumerate(self.classes):
            entries = []
            path = self.require(f"{self.lists_folder}/{folder}_test_split{split}.txt")
            for place, line in read_lines(path):
                written, _, side = line.rpartition(" ")
                name = written.strip()
                if side not in sides or "/" in inside(name, place) or not Path(name).suffix:
                    raise DatasetError(
                        f"{place}: {line!r} is not '<clip>.avi' and 1 (train), 2 (test) or "
                        "0 (unused)"
                    )
                record = self._record(folder, label, name)
                sides[side].append(record)
                entries.append((place, record))
            without_repeats(entries)
        return sides

    def _record(self, folder: str, label: int, name: str) -> VideoRecord:
        """Return a clip's record; what stands before the class in its name is the film."""
        stem = name.rpartition(".")[0]
        film = stem.rpartition(f"_{folder}_")[0]
        group = film or stem
        path = self.root / self.videos_folder / folder / name
        return VideoRecord(f"{folder}/{stem}", path, (label,), group)
