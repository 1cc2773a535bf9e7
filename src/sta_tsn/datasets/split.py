"""From an official split to the three lists of videos that a run uses.

They are for training, selection and testing.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from sta_tsn.artefacts import fingerprint
from sta_tsn.datasets.manifest import Manifest, ManifestRow, build_manifest
from sta_tsn.datasets.records import (
    OfficialSplit,
    VideoDataset,
    VideoRecord,
    hold_out_groups,
    labels_of,
)
from sta_tsn.datasets.skeletons import SkeletonDataset, skeleton_manifest
from sta_tsn.errors import ConfigError, DatasetError


@dataclass(frozen=True)
class VideoSplit:
    """Hold the readable videos of one split, with their frame counts.

    Args:
        train: videos to learn from.
        val: videos to select an epoch by.
        test: videos to measure accuracy on.
        num_test_missing: number of test videos that are listed but cannot be used.
    """

    train: list[VideoRecord]
    val: list[VideoRecord]
    test: list[VideoRecord]
    num_test_missing: int

    @property
    def fingerprint(self) -> str:
        """Return what changes with any video, label, frame count, file size or side.

        A copy that was encoded anew has another size.
        """
        sides = []
        for records in (self.train, self.val, self.test):
            sides.append([(r.id, r.labels, r.num_frames, r.size_bytes) for r in records])
        return fingerprint(sides)


def open_split(
    dataset: VideoDataset,
    split: int,
    manifest: Manifest | str | Path,
    *,
    val_share: float = 0.1,
    allow_missing: bool = False,
    moving: bool = False,
    say: Callable[[str], None] = print,
) -> VideoSplit:
    """Return the videos that training, selection and testing use: the only way to a run's videos.

    Args:
        dataset: that the videos belong to.
        split: 1-based official split.
        manifest: frame counts, or the file that keeps them: what it does not hold is counted now.
            Skeletons are read whole and need none.
        val_share: share of each class's training clips to hold out, where no list says which.
        allow_missing: go on without test videos that are absent or do not decode, and classes.
        moving: leave out videos of a single frame, which have no optical flow.
        say: receives the lines a user should see.

    Raises:
        DatasetError: as `prepare_split`.
        ConfigError: as `prepare_split`.
    """
    if isinstance(dataset, SkeletonDataset):
        manifest = skeleton_manifest(dataset.records(split).videos, dataset.read)
    elif isinstance(manifest, str | Path):
        manifest = build_manifest(dataset.records(split).videos, manifest)
    videos = prepare_split(dataset, split, manifest, val_share, allow_missing, say)
    if moving:
        videos = moving_only(dataset, split, videos, allow_missing, say)
    return videos


def moving_only(
    dataset: VideoDataset,
    split: int,
    videos: VideoSplit,
    allow_missing: bool = False,
    say: Callable[[str], None] = print,
) -> VideoSplit:
    """Return a split without videos of a single frame, which have no optical flow.

    In testing they count as missing.

    Args:
        dataset: that the videos belong to.
        split: 1-based official split.
        videos: as `prepare_split` returns them.
        allow_missing: go on without classes.
        say: receives the lines a user should see.

    Raises:
        DatasetError: as `prepare_split`, of what is left.
    """
    sides = (videos.train, videos.val, videos.test)
    still = [record.id for record in chain(*sides) if record.num_frames < 2]
    if not still:
        return videos
    say(
        f"Left out, because a single frame has no optical flow: {len(still)} videos "
        f"({_some(still, 5)})."
    )
    train, val, test = ([record for record in side if record.num_frames > 1] for side in sides)
    _check_classes(dataset, split, train, test, allow_missing, say)
    num_missing = videos.num_test_missing + len(videos.test) - len(test)
    return VideoSplit(train, val, test, num_missing)


def prepare_split(
    dataset: VideoDataset,
    split: int,
    manifest: Manifest,
    val_share: float = 0.1,
    allow_missing: bool = False,
    say: Callable[[str], None] = print,
) -> VideoSplit:
    """Check an official split against the manifest.

    Where it has no validation list, one is carved out of training, by group.

    Args:
        dataset: that the videos belong to.
        split: 1-based official split.
        manifest: what decodes.
        val_share: share of each class's training clips to hold out for model selection (0 to 1).
        allow_missing: go on without test videos that are absent or do not decode, and without
            classes.
        say: receives the lines a user should see.

    Raises:
        DatasetError: videos are missing, a class has no training clip, or nothing is left to test,
            and `allow_missing` does not permit it.
        ConfigError: val_share is no share.
    """
    if not 0 <= val_share < 1:
        raise ConfigError(
            f"data.val_share={val_share}: the share of the training clips to hold out, from 0 to "
            "below 1 (10 % is 0.1)."
        )
    official = dataset.records(split)
    _check_labels(dataset, split, official)
    _compare_with_published(dataset, split, official, say)
    train, train_lost = _usable(official.train, manifest)
    val, val_lost = _usable(official.val or [], manifest)
    test, test_lost = _usable(official.test, manifest)
    lost = train_lost + val_lost + test_lost
    absent = [record for record in lost if _row(record, manifest) is None]
    if absent and not allow_missing:
        raise DatasetError(_missing_message(dataset, split, absent, official))
    broken = _broken(lost, manifest)
    broken_test = _broken(test_lost, manifest)
    if broken_test and not allow_missing:
        raise DatasetError(
            f"{len(broken_test)} test videos of split {split} do not decode:\n"
            f"{_listing(broken_test)}\nReplace the files, or set allow_missing to test without "
            "them (the report will say so)."
        )
    if broken:
        say(f"Left out, because they do not decode: {len(broken)} videos.\n{_listing(broken)}")
    if absent:
        say(f"Missing: {len(absent)} of {len(official.videos)} listed videos are absent.")
    _check_classes(dataset, split, train, test, allow_missing, say)
    if not val:
        train, val = hold_out_groups(train, val_share, seed=split)
    return VideoSplit(train, val, test, num_test_missing=len(test_lost))


def _compare_with_published(
    dataset: VideoDataset, split: int, official: OfficialSplit, say: Callable[[str], None]
) -> None:
    if dataset.published_classes not in (None, len(dataset.classes)):
        say(
            f"{dataset.name}: the lists name {len(dataset.classes)} classes, "
            f"{dataset.published_classes} are published."
        )
    if dataset.published_splits:
        listed = (len(official.train), len(official.test))
        published = dataset.published_splits[split - 1]
        if listed != published:
            say(
                f"{dataset.name} split {split}: {listed[0]} training and {listed[1]} test videos "
                f"are listed, {published[0]} and {published[1]} are published."
            )


def _row(record: VideoRecord, manifest: Manifest) -> ManifestRow | None:
    return manifest.get(str(record.path.absolute()))


def _usable(
    records: list[VideoRecord], manifest: Manifest
) -> tuple[list[VideoRecord], list[VideoRecord]]:
    """Return the videos that decode, with what was counted, and the others."""
    usable = []
    lost = []
    for record in records:
        row = _row(record, manifest)
        if row is not None and not row.reason:
            usable.append(replace(record, num_frames=row.num_frames, size_bytes=row.size_bytes))
        else:
            lost.append(record)
    return usable, lost


def _broken(lost: list[VideoRecord], manifest: Manifest) -> list[tuple[VideoRecord, str]]:
    """Return those of the videos that are there, with the reason why they do not decode."""
    broken = []
    for record in lost:
        row = _row(record, manifest)
        if row is not None:
            broken.append((record, row.reason))
    return broken


def _check_labels(dataset: VideoDataset, split: int, official: OfficialSplit) -> None:
    """Find wrong labels on the CPU: on a GPU they end in a device-side assert without a name."""
    name = f"{dataset.name} split {split}"
    last = len(dataset.classes) - 1
    for record in official.videos:
        if not all(0 <= label <= last for label in record.labels):
            raise DatasetError(
                f"{name}: {record.id} has labels {record.labels}, classes are 0 to {last}."
            )
    learned_from = official.train + (official.val or [])
    unlabelled = [record.id for record in learned_from if not record.labels]
    if unlabelled:
        raise DatasetError(
            f"{name}: {len(unlabelled)} videos to learn from have no label: {_some(unlabelled, 5)}"
        )


def _missing_message(
    dataset: VideoDataset, split: int, absent: list[VideoRecord], official: OfficialSplit
) -> str:
    names = "\n".join(f"  {record.path}" for record in absent[:5])
    return (
        f"{dataset.name} split {split} lists {len(official.videos)} videos, {len(absent)} of them "
        f"are not in {dataset.root.resolve()}:\n"
        f"{names}\n  {'...' if len(absent) > 5 else ''}\n"
        f"Unpack the archives so that the layout is\n{dataset.layout}\n"
        "or set allow_missing to go on with what is there."
    )


def _listing(broken: list[tuple[VideoRecord, str]]) -> str:
    lines = [f"  {record.path}: {reason}" for record, reason in broken[:10]]
    if len(broken) > 10:
        lines.append("  ... (all in the manifest)")
    return "\n".join(lines)


def _check_classes(
    dataset: VideoDataset,
    split: int,
    train: list[VideoRecord],
    test: list[VideoRecord],
    allow_missing: bool,
    say: Callable[[str], None],
) -> None:
    name = f"{dataset.name} split {split}"
    if not train:
        raise DatasetError(f"{name}: no training video is left.")
    if not test:
        raise DatasetError(f"{name}: no test video is left, so nothing could be measured.")
    untrained = _classes_not_in(train, dataset.classes)
    if untrained:
        message = f"{name}: {_without_clips(untrained, dataset.classes, 'training')}."
        if not allow_missing:
            raise DatasetError(
                f"{message} Add clips, remove the class, or set allow_missing to go on."
            )
        say(message)
    untested = _classes_not_in(test, dataset.classes)
    if untested:
        without = _without_clips(untested, dataset.classes, "test")
        say(f"{name}: {without}. Nothing is measured of them.")


def _classes_not_in(side: list[VideoRecord], classes: list[str]) -> list[str]:
    """Return the classes that no video of a side shows."""
    found = set(labels_of(side))
    absent = []
    for label, name in enumerate(classes):
        if label not in found:
            absent.append(name)
    return absent


def _without_clips(names: list[str], classes: list[str], side: str) -> str:
    return f"{len(names)} of {len(classes)} classes have no {side} clip: {_some(names, 8)}"


def _some(names: list[str], most: int) -> str:
    """Return the first `most` names, with dots where there are more."""
    shown = names[:most]
    if len(names) > most:
        shown.append("...")
    return ", ".join(shown)
