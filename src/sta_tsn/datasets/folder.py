"""Your own videos: one folder per class, or a table; a random split never divides a group."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from sta_tsn.datasets.decoding import VIDEO_SUFFIXES
from sta_tsn.datasets.lists import inside, label_of, read_table, without_repeats
from sta_tsn.datasets.manifest import numbered_pictures
from sta_tsn.datasets.records import OfficialSplit, VideoDataset, VideoRecord, hold_out_groups
from sta_tsn.errors import DatasetError

TABLE = "videos.csv"
SIDES = ("train", "val", "test")
DRIVE = re.compile(r"[A-Za-z]:/")


class Folder(VideoDataset):
    """Read `root/<class>/<video>`.

    Files with a video's suffix count, and folders of numbered pictures. Other files (`Thumbs.db`,
    subtitles, notes) are named once and left alone; hidden ones are passed over.

    A group is what files of a class share when a trailing clip number is taken off their name:
    `match7_c01.mp4` and `match7_c02.mp4` are group `match7` (also `_clip1`, `_part1`, and the times
    of names like Kinetics', `<id>_000010_000020.mp4`). Give clips of one recording such names; any
    other file is a group of its own.

    With `root/videos.csv` only what it lists is used. Its columns are told apart by commas,
    semicolons or tabs; capitals and spaces in their names do no harm:

    - `path`: relative to root, or absolute.
    - `labels` or `label`: one class, or several with `;` between them.
    - `group`: the recording, if you like; else as above.
    - `split`: `train`, `val` (`validation`) or `test`, if you like. Without it the test split is
      random; without `val` rows validation is carved out of training.

    Args:
        root: the folder of class folders.
        test_share: share of each class held out for testing where no `split` says otherwise.
        seed: of the random split; splits 2 and 3 are further draws.
    """

    layout = (
        "  <class>/<video>.mp4 (or avi, mkv, mov, mpg, webm, ...), at least two classes; "
        "or videos.csv with path,labels"
    )
    num_splits = 3

    def __init__(self, root: str, test_share: float = 0.25, seed: int = 0):
        super().__init__(root)
        self.test_share = test_share
        self.seed = seed
        self._named_others = False

    def _read_classes(self) -> list[str]:
        found = set()
        if (self.root / TABLE).exists():
            for place, row in self._rows():
                found.update(_names(row, place))
        else:
            for path in self.root.iterdir():
                if path.is_dir() and not _of_the_system(path):
                    found.add(path.name)
        classes = sorted(found)
        if len(classes) < 2:
            raise DatasetError(
                f"Folder: {self.root.resolve()} holds {len(classes)} classes.\n{self._remedy()}"
            )
        return classes

    def records(self, split: int) -> OfficialSplit:
        self.check_split(split)
        rows = self._rows() if (self.root / TABLE).exists() else []
        if any(row.get("split") for _, row in rows):
            return self._listed_split(rows)
        everything = without_repeats((place, self._record(row, place)) for place, row in rows)
        if not everything:
            everything = list(self._files())
        train, test = hold_out_groups(
            everything, self.test_share, self.seed * 1000 + split, smallest_first=False
        )
        return OfficialSplit(train, test)

    def _files(self) -> Iterator[VideoRecord]:
        others = []
        for label, folder in enumerate(self.classes):
            for path in sorted((self.root / folder).iterdir()):
                if _of_the_system(path):
                    continue
                if path.is_dir():
                    self._check_pictures(path)
                elif path.suffix.lower() not in VIDEO_SUFFIXES:
                    others.append(f"{folder}/{path.name}")
                    continue
                # a broken link too: it counts as missing
                group = f"{folder}/{_group(path)}"
                yield VideoRecord(f"{folder}/{path.name}", path, (label,), group)
        if others and not self._named_others:
            self._named_others = True
            some = ", ".join(others[:5]) + (", ..." if len(others) > 5 else "")
            print(f"Left alone, because they are no videos: {len(others)} files ({some}).")

    def _check_pictures(self, path: Path) -> None:
        if not numbered_pictures(path):
            raise DatasetError(
                f"{path.resolve()} is a folder inside a class, and holds no numbered pictures: "
                f"move its videos up, or list them in {TABLE}."
            )

    def _rows(self) -> list[tuple[str, dict[str, str]]]:
        rows = read_table(self.root / TABLE, ("path",), any_form=True)
        for place, row in rows:
            if "labels" not in row and "label" not in row:
                raise DatasetError(f"{place}: no column labels; the header is {', '.join(row)}")
            row.setdefault("labels", row.get("label", ""))
            if "split" in row:
                side = row["split"].lower()
                row["split"] = "val" if side == "validation" else side
        return rows

    def _record(self, row: dict[str, str], place: str) -> VideoRecord:
        """Return the video of a row; without a column of groups its name tells the group."""
        name, path = self._place_of(row["path"], place)
        labels = []
        for written in _names(row, place):
            labels.append(label_of(written, self.classes, place, TABLE))
        group = row.get("group")
        if not group:
            group = f"{Path(name).parent}/{_group(path)}"
        return VideoRecord(name, path, tuple(labels), group)

    def _place_of(self, written: str, place: str) -> tuple[str, Path]:
        """Return a video's id, which names its files below the runs, and its path."""
        written = written.replace("\\", "/")
        if DRIVE.match(written):
            raise DatasetError(
                f"{place}: {written!r} is a path of Windows; write it relative to {self.root}"
            )
        if not Path(written).is_absolute():
            name = inside(written, place, may_hold_colons=True)
            return name, self.root / name
        path = Path(os.path.normpath(written))
        root = self.root.absolute()
        name = path.relative_to(root) if path.is_relative_to(root) else path.relative_to("/")
        return str(name), path

    def _listed_split(self, rows: list[tuple[str, dict[str, str]]]) -> OfficialSplit:
        sides: dict[str, list[VideoRecord]] = {side: [] for side in SIDES}
        entries = []
        for place, row in rows:
            side = row["split"]
            if side not in SIDES:
                raise DatasetError(f"{place}: split {side!r} is not train, val or test")
            record = self._record(row, place)
            sides[side].append(record)
            entries.append((place, record))
        without_repeats(entries)
        _check_groups(rows)
        return OfficialSplit(sides["train"], sides["test"], sides["val"] or None)


def _check_groups(rows: list[tuple[str, dict[str, str]]]) -> None:
    """Raise where a group that the table names is on two sides."""
    told: dict[str, str] = {}
    for place, row in rows:
        group = row.get("group")
        if not group:
            continue
        side = told.setdefault(group, row["split"])
        if row["split"] != side:
            raise DatasetError(f"{place}: group {group!r} is in {side} and in {row['split']}")


def _names(row: dict[str, str], place: str) -> list[str]:
    """Return the classes that a row names.

    Raises:
        DatasetError: there is none, or one is named twice.
    """
    names = [name.strip() for name in row["labels"].split(";") if name.strip()]
    if not names:
        raise DatasetError(f"{place}: {row['path']!r} has no label")
    if len(set(names)) < len(names):
        raise DatasetError(f"{place}: {row['labels']!r} names a class twice")
    return names


def _group(path: Path) -> str:
    name = re.sub(r"[_\-. ]+(c|clip|part)\d+$", "", path.stem, flags=re.IGNORECASE)
    name = re.sub(r"_\d{6}_\d{6}$", "", name)
    return name or path.stem


def _of_the_system(path: Path) -> bool:
    """Return whether an operating system or an archive has left this here."""
    return path.name.startswith((".", "__MACOSX", "@eaDir"))
