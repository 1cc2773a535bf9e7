"""Your own videos: one folder per class, or a table videos.csv; a random test split never divides a group."""

import re
from collections.abc import Iterator
from pathlib import Path

from sta_tsn.datasets.lists import inside, label_of, read_table, without_repeats
from sta_tsn.datasets.records import OfficialSplit, VideoDataset, VideoRecord, hold_out_groups
from sta_tsn.errors import DatasetError

TABLE = "videos.csv"
SIDES = ("train", "val", "test")


class Folder(VideoDataset):
    """`root/<class>/<any file>`; hidden files are left out, everything else is held to be a video.

    A group is what files of a class share when a trailing clip number is taken off their name: `match7_c01.mp4`
    and `match7_c02.mp4` are group `match7` (also `_clip1`, `_part1`). Give clips of one recording such names;
    any other file is a group of its own.

    With `root/videos.csv` only what it lists is used. Columns: `path` (relative to root), `labels` or `label` (one class, or
    several with `;` between them), and if you like `group` (the recording; else as above) and `split` (`train`,
    `val` or `test`; without it the test split is random, without `val` rows validation is carved out of training).

    Args:
        root: the folder of class folders.
        test_share: share of each class held out for testing where no `split` says otherwise.
        seed: of the random split; splits 2 and 3 are further draws.
    """

    layout = "  <class>/<video>.mp4 (or avi, mkv, mov, mpg, webm, ...), at least two classes; or videos.csv with path,labels"
    num_splits = 3

    def __init__(self, root: str, test_share: float = 0.25, seed: int = 0):
        super().__init__(root)
        self.test_share, self.seed = test_share, seed

    def _read_classes(self) -> list[str]:
        if (self.root / TABLE).exists():
            classes = sorted({name for place, row in self._rows() for name in _names(row, place)})
        else:
            classes = sorted(
                path.name
                for path in self.root.iterdir()
                if path.is_dir() and not path.name.startswith(".")
            )
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
        everything = without_repeats(
            (place, self._record(row, place)) for place, row in rows
        ) or list(self._files())
        train, test = hold_out_groups(
            everything, self.test_share, self.seed * 1000 + split, smallest_first=False
        )
        return OfficialSplit(train, test)

    def _files(self) -> Iterator[VideoRecord]:
        for label, folder in enumerate(self.classes):
            for path in sorted((self.root / folder).iterdir()):
                if path.is_dir() and not path.name.startswith("."):
                    raise DatasetError(
                        f"{path.resolve()} is a folder inside a class: move its videos up, or list them in {TABLE}."
                    )
                if not path.name.startswith("."):  # a broken link too: it counts as missing
                    yield VideoRecord(
                        f"{folder}/{path.name}", path, (label,), f"{folder}/{_group(path)}"
                    )

    def _rows(self) -> list[tuple[str, dict[str, str]]]:
        rows = read_table(self.root / TABLE, ("path",))
        for place, row in rows:
            if "labels" not in row and "label" not in row:
                raise DatasetError(f"{place}: no column labels; the header is {', '.join(row)}")
            row.setdefault("labels", row.get("label", ""))
        return rows

    def _record(self, row: dict[str, str], place: str) -> VideoRecord:
        name = inside(row["path"], place)
        path = self.root / name
        labels = tuple(label_of(name, self.classes, place, TABLE) for name in _names(row, place))
        return VideoRecord(
            name, path, labels, row.get("group") or f"{Path(name).parent}/{_group(path)}"
        )

    def _listed_split(self, rows: list[tuple[str, dict[str, str]]]) -> OfficialSplit:
        sides: dict[str, list[VideoRecord]] = {side: [] for side in SIDES}
        for place, row in rows:
            if row["split"] not in SIDES:
                raise DatasetError(f"{place}: split {row['split']!r} is not train, val or test")
            sides[row["split"]].append(self._record(row, place))
        without_repeats((place, self._record(row, place)) for place, row in rows)
        told = {row["group"]: row["split"] for _, row in reversed(rows) if row.get("group")}
        for place, row in rows:
            if row.get("group") and row["split"] != told[row["group"]]:
                raise DatasetError(
                    f"{place}: group {row['group']!r} is in {told[row['group']]} and in {row['split']}"
                )
        return OfficialSplit(sides["train"], sides["test"], sides["val"] or None)


def _names(row: dict[str, str], place: str) -> list[str]:
    names = [name.strip() for name in row["labels"].split(";") if name.strip()]
    if not names:
        raise DatasetError(f"{place}: {row['path']!r} has no label")
    if len(set(names)) < len(names):
        raise DatasetError(f"{place}: {row['labels']!r} names a class twice")
    return names


def _group(path: Path) -> str:
    return re.sub(r"[_\-. ]+(c|clip|part)\d+$", "", path.stem, flags=re.IGNORECASE) or path.stem
