"""What every dataset offers: classes, and the records of its official splits."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sta_tsn.errors import DatasetError


@dataclass(frozen=True)
class VideoRecord:
    """Name one video as the official lists do; whether it decodes is the manifest's business.

    Args:
        id: unique, `<class>/<file stem>` where the dataset has such a layout.
        path: where the file (or folder of numbered pictures) should be.
        labels: class indices, 0-based; several for a multi-label video, none for one that shows no
            class.
        group: the source video it was cut from; clips of one group never sit on both sides of
            validation.
        num_frames: how many frames decode; 0 until the manifest has counted.
        size_bytes: of the file; 0 until the manifest has counted.
    """

    id: str
    path: Path
    labels: tuple[int, ...]
    group: str
    num_frames: int = 0
    size_bytes: int = 0

    @property
    def entry(self) -> dict:
        """Return what lists of videos on disk and score tables hold of it."""
        return {"id": self.id, "labels": list(self.labels), "group": self.group}


@dataclass(frozen=True)
class Archive:
    """Name a file that the dataset's authors offer.

    Args:
        url: where it is fetched.
        checksum: `md5:...` or `sha256:...`; empty where none is published.
        folder: below the dataset's root, to unpack into.
    """

    url: str
    checksum: str = ""
    folder: str = "."

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class OfficialSplit:
    """Hold the lists of one split.

    `val` is there where the dataset has an official one; else it is carved out of `train`.

    Raises:
        DatasetError: a video is on two sides.
    """

    train: list[VideoRecord]
    test: list[VideoRecord]
    val: list[VideoRecord] | None = None

    def __post_init__(self):
        listed = Counter(record.id for record in (*self.train, *self.test, *(self.val or [])))
        twice = [name for name, count in listed.items() if count > 1]
        if twice:
            raise DatasetError(
                f"{len(twice)} videos are on two sides of the split (or twice on one): "
                f"{', '.join(twice[:5])}"
            )

    @property
    def videos(self) -> list[VideoRecord]:
        return [*self.train, *(self.val or []), *self.test]


class VideoDataset(ABC):
    """Offer a dataset on disk: its classes, and the records of its official splits.

    Subclasses set `layout` (shown when something is missing) and `num_splits`; where they are
    published, `published_classes`, `published_videos` (in all) and `published_splits` (train, test
    of each split); `cross_validated` where a result is the mean of all splits (folds) and nothing
    less; for downloads the `archives`, the dataset's web `page`, and `by_hand`: what cannot be
    fetched without a person, and where to put it.

    Args:
        root: folder in the layout that the official archives unpack to.

    Raises:
        DatasetError: `root` is missing or is not laid out as `layout` says.
    """

    layout: str
    num_splits: int = 1
    published_classes: int | None = None
    published_videos: int | None = None
    published_splits: tuple[tuple[int, int], ...] = ()
    cross_validated: bool = False
    archives: tuple[Archive, ...] = ()
    page: str = ""
    by_hand: str = ""

    def __init__(self, root: str):
        self.root = Path(root).expanduser()
        if not self.root.is_dir():
            raise DatasetError(f"{self.name}: no folder {self.root.resolve()}.\n{self._remedy()}")
        self.classes = self._read_classes()

    @property
    def name(self) -> str:
        return type(self).__name__

    @abstractmethod
    def _read_classes(self) -> list[str]: ...

    @abstractmethod
    def records(self, split: int) -> OfficialSplit:
        """Return the official split (1-based): every listed video, its file there or not."""

    def listed(self) -> list[VideoRecord]:
        """Return every video that any split names, once."""
        videos = {}
        for split in range(1, self.num_splits + 1):
            videos |= {record.id: record for record in self.records(split).videos}
        return list(videos.values())

    def key_frames(self, record: VideoRecord) -> np.ndarray | None:
        """Return the ground truth for temporal attention; None where unknown.

        It is bool (num_frames,), True where the action happens.
        """
        return None

    def actor_mask(self, record: VideoRecord) -> np.ndarray | None:
        """Return the ground truth for spatial attention; None where unknown.

        It is bool (num_frames, H, W) in the video's pixels.
        """
        return None

    def unrelated_footage(self) -> list[Path]:
        """Return folders of videos that show none of the classes, where the dataset brings such."""
        return []

    def require(self, relative: str) -> Path:
        """Return the path of what the layout promises; raise DatasetError where it is missing."""
        path = self.root / relative
        if not path.exists():
            raise DatasetError(
                f"{self.name}: looked for {path.resolve()}, which does not exist.\n{self._remedy()}"
            )
        return path

    def check_split(self, split: int) -> None:
        if not 1 <= split <= self.num_splits:
            raise DatasetError(
                f"{self.name} has splits 1 to {self.num_splits}; split {split} was asked for."
            )

    def _remedy(self) -> str:
        return f"Expected layout below the dataset's folder:\n{self.layout}"


def hold_out_groups(
    records: list[VideoRecord], share: float, seed: int, smallest_first: bool = True
) -> tuple[list, list]:
    """Split into (kept, held out) so that no group is on both sides.

    No class gives up more than `share` of its clips, but one group at least, its smallest, if it
    has two: a class never loses its last training group.

    Args:
        records: what is split.
        share: of each class's clips, 0 to 1.
        seed: of the draw.
        smallest_first: many small groups rather than few large ones, for validation; else groups at
            random, for testing.
    """
    generator = np.random.default_rng(seed)
    members: dict[str, list[VideoRecord]] = {}
    for record in records:
        members.setdefault(record.group, []).append(record)
    clips_of_class = Counter(labels_of(records))
    groups_of_class: Counter[int] = Counter()
    for group in members.values():
        groups_of_class.update(set(labels_of(group)))

    held_groups: set[str] = set()
    held_clips: Counter[int] = Counter()

    def affordable(label: int, clips: int, may_exceed: bool) -> bool:
        if may_exceed and held_clips[label] == 0 and groups_of_class[label] > 1:
            return True
        held = held_clips[label] + clips
        return held <= share * clips_of_class[label]

    def hold_out(names: list[str], may_exceed: bool) -> None:
        for name in names:
            if name in held_groups:
                continue
            adds = Counter(labels_of(members[name]))
            if all(affordable(label, clips, may_exceed) for label, clips in adds.items()):
                held_groups.add(name)
                held_clips.update(adds)

    shuffled = generator.permutation(sorted(members)).tolist() if share > 0 else []
    if not smallest_first:
        hold_out(shuffled, may_exceed=False)
    hold_out(sorted(shuffled, key=lambda name: len(members[name])), may_exceed=True)
    kept = []
    held = []
    for record in records:
        side = held if record.group in held_groups else kept
        side.append(record)
    return kept, held


def labels_of(records: Iterable[VideoRecord]) -> list[int]:
    """Return the labels of all videos, one after the other."""
    labels = []
    for record in records:
        labels.extend(record.labels)
    return labels
