"""From an official split to the three lists of videos that training, selection and testing really use."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from sta_tsn.artefacts import fingerprint
from sta_tsn.datasets.manifest import Manifest, build_manifest
from sta_tsn.datasets.records import OfficialSplit, VideoDataset, VideoRecord, hold_out_groups
from sta_tsn.datasets.skeletons import SkeletonDataset, skeleton_manifest
from sta_tsn.errors import ConfigError, DatasetError


@dataclass(frozen=True)
class VideoSplit:
    """Readable videos with their frame counts; `num_test_missing` test videos are listed but not usable."""

    train: list[VideoRecord]
    val: list[VideoRecord]
    test: list[VideoRecord]
    num_test_missing: int

    @property
    def fingerprint(self) -> str:
        """Changes with any video, label, frame count, file size (a copy encoded anew) or side."""
        return fingerprint(
            [
                [(r.id, r.labels, r.num_frames, r.size_bytes) for r in side]
                for side in (self.train, self.val, self.test)
            ]
        )


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
    return moving_only(dataset, split, videos, allow_missing, say) if moving else videos


def moving_only(
    dataset: VideoDataset,
    split: int,
    videos: VideoSplit,
    allow_missing: bool = False,
    say: Callable[[str], None] = print,
) -> VideoSplit:
    """Without videos of a single frame, which have no optical flow; in testing they count as missing.

    Args, Raises: as `prepare_split`, of what is left.
    """
    sides = (videos.train, videos.val, videos.test)
    still = [record.id for side in sides for record in side if record.num_frames < 2]
    if not still:
        return videos
    say(
        f"Left out, because a single frame has no optical flow: {len(still)} videos ({', '.join(still[:5])}{', ...' * (len(still) > 5)})."
    )
    train, val, test = ([record for record in side if record.num_frames > 1] for side in sides)
    _check_classes(dataset, split, train, test, allow_missing, say)
    return VideoSplit(train, val, test, videos.num_test_missing + len(videos.test) - len(test))


def prepare_split(
    dataset: VideoDataset,
    split: int,
    manifest: Manifest,
    val_share: float = 0.1,
    allow_missing: bool = False,
    say: Callable[[str], None] = print,
) -> VideoSplit:
    """Check an official split against the manifest; where it has no validation list, carve one out of training, by group.

    Args:
        split: 1-based official split.
        val_share: share of each class's training clips to hold out for model selection (0 to 1).
        allow_missing: go on without test videos that are absent or do not decode, and without classes.
        say: receives the lines a user should see.

    Raises:
        DatasetError: videos are missing, a class has no training clip, or nothing is left to test, and
            `allow_missing` does not permit it.
        ConfigError: val_share is no share.
    """
    if not 0 <= val_share < 1:
        raise ConfigError(
            f"data.val_share={val_share}: the share of the training clips to hold out, from 0 to below 1 (10 % is 0.1)."
        )
    official = dataset.records(split)
    _check_labels(dataset, split, official)
    if dataset.published_classes not in (None, len(dataset.classes)):
        say(
            f"{dataset.name}: the lists name {len(dataset.classes)} classes, {dataset.published_classes} are published."
        )
    if dataset.published_splits:
        train_published, test_published = dataset.published_splits[split - 1]
        if (len(official.train), len(official.test)) != (train_published, test_published):
            say(
                f"{dataset.name} split {split}: {len(official.train)} training and {len(official.test)} test videos are listed, "
                f"{train_published} and {test_published} are published."
            )
    train, train_lost = _usable(official.train, manifest)
    val, val_lost = _usable(official.val or [], manifest)
    test, test_lost = _usable(official.test, manifest)
    train_lost += val_lost
    absent = [r for r in train_lost + test_lost if str(r.path.absolute()) not in manifest]
    if absent and not allow_missing:
        raise DatasetError(_missing_message(dataset, split, absent, official))
    broken, broken_test = (
        [(r, row.reason) for r in lost if (row := manifest.get(str(r.path.absolute())))]
        for lost in (train_lost + test_lost, test_lost)
    )
    if broken_test and not allow_missing:
        raise DatasetError(
            f"{len(broken_test)} test videos of split {split} do not decode:\n{_listing(broken_test)}\n"
            "Replace the files, or set ALLOW_MISSING=1 to test without them (the report will say so)."
        )
    if broken:
        say(f"Left out, because they do not decode: {len(broken)} videos.\n{_listing(broken)}")
    if absent:
        say(f"ALLOW_MISSING: {len(absent)} of {len(official.videos)} listed videos are absent.")
    _check_classes(dataset, split, train, test, allow_missing, say)
    if not val:
        train, val = hold_out_groups(train, val_share, seed=split)
    return VideoSplit(train, val, test, num_test_missing=len(test_lost))


def _usable(
    records: list[VideoRecord], manifest: Manifest
) -> tuple[list[VideoRecord], list[VideoRecord]]:
    usable, lost = [], []
    for record in records:
        row = manifest.get(str(record.path.absolute()))
        if row is not None and not row.reason:
            usable.append(replace(record, num_frames=row.num_frames, size_bytes=row.size_bytes))
        else:
            lost.append(record)
    return usable, lost


def _check_labels(dataset: VideoDataset, split: int, official: OfficialSplit) -> None:
    """Wrong labels are found here, on the CPU: on a GPU they end in a device-side assert without a name."""
    name, last = f"{dataset.name} split {split}", len(dataset.classes) - 1
    for record in official.videos:
        if not all(0 <= label <= last for label in record.labels):
            raise DatasetError(
                f"{name}: {record.id} has labels {record.labels}, classes are 0 to {last}."
            )
    unlabelled = [
        record.id for record in official.train + (official.val or []) if not record.labels
    ]
    if unlabelled:
        raise DatasetError(
            f"{name}: {len(unlabelled)} videos to learn from have no label: {', '.join(unlabelled[:5])}"
        )


def _missing_message(
    dataset: VideoDataset, split: int, absent: list[VideoRecord], official: OfficialSplit
) -> str:
    names = "\n".join(f"  {r.path}" for r in absent[:5])
    return (
        f"{dataset.name} split {split} lists {len(official.videos)} videos, {len(absent)} of them are not in {dataset.root.resolve()}:\n"
        f"{names}\n  {'...' if len(absent) > 5 else ''}\n"
        f"Unpack the archives so that the layout is\n{dataset.layout}\nor set ALLOW_MISSING=1 to go on with what is there."
    )


def _listing(broken: list[tuple[VideoRecord, str]]) -> str:
    lines = [f"  {record.path}: {reason}" for record, reason in broken[:10]]
    return "\n".join(lines + (["  ... (all in the manifest)"] if len(broken) > 10 else []))


def _check_classes(dataset, split, train, test, allow_missing, say) -> None:
    if not train:
        raise DatasetError(f"{dataset.name} split {split}: no training video is left.")
    if not test:
        raise DatasetError(
            f"{dataset.name} split {split}: no test video is left, so nothing could be measured."
        )
    untrained, untested = (_classes_not_in(side, dataset.classes) for side in (train, test))
    if untrained:
        message = f"{dataset.name} split {split}: {_without_clips(untrained, dataset.classes, 'training')}."
        if not allow_missing:
            raise DatasetError(
                f"{message} Add clips, remove the class, or set ALLOW_MISSING=1 to go on."
            )
        say(message)
    if untested:
        say(
            f"{dataset.name} split {split}: {_without_clips(untested, dataset.classes, 'test')}. Nothing is measured of them."
        )


def _classes_not_in(side: list[VideoRecord], classes: list[str]) -> list[str]:
    found = {label for record in side for label in record.labels}
    return [name for label, name in enumerate(classes) if label not in found]


def _without_clips(names: list[str], classes: list[str], side: str) -> str:
    some = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return f"{len(names)} of {len(classes)} classes have no {side} clip: {some}"
