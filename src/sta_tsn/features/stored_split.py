"""The sides of a split, from what a feature store says of its videos: no dataset is opened."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sta_tsn.datasets import VideoRecord, VideoSplit
from sta_tsn.datasets.records import hold_out_groups
from sta_tsn.errors import ConfigError, UserError


@dataclass(frozen=True)
class StoredSplit:
    """Hold a store's videos by side, each with `id`, `labels` (indices) and `group` (source).

    Args:
        train: to learn from.
        val: to choose by; of other sources than `train`.
        test: to test on, once.
        num_test_missing: test videos that the dataset lists and the store does not hold.
    """

    train: list[dict]
    val: list[dict]
    test: list[dict]
    num_test_missing: int = 0


def sides_of(videos: VideoSplit) -> dict:
    """Return a split as `store.json` keeps it: ids by side, and the number of missing videos."""
    return {
        "train": [record.id for record in videos.train],
        "val": [record.id for record in videos.val],
        "test": [record.id for record in videos.test],
        "missing": videos.num_test_missing,
    }


def with_former_splits(listing: dict, former: dict) -> dict:
    """Return `listing` with the splits and videos that the store has had of the same classes.

    Args:
        listing: `classes`, `videos` and `splits` as they are to be written.
        former: `store.json` as it is; {} where there is none.
    """
    if former.get("classes") != listing["classes"]:
        return listing
    videos = {video["id"]: video for video in [*former["videos"], *listing["videos"]]}
    splits = {**former["splits"], **listing["splits"]}
    return {**listing, "videos": list(videos.values()), "splits": splits}


def open_stored_split(about: dict, split: int, val_share: float, folder: Path) -> StoredSplit:
    """Return the videos of one split; without a validation list, carve one out of training.

    Args:
        about: of the store (`store.json`).
        split: 1-based.
        val_share: share of each class's training videos to hold out by source, 0 to below 1.
        folder: of the store, for messages.

    Raises:
        ConfigError: no such split, or val_share is no share.
        UserError: the store does not say which videos belong to it.
    """
    if not 0 <= val_share < 1:
        raise ConfigError(
            f"data.val_share={val_share}: the share of the training videos to hold out, from 0 to "
            "below 1 (20 % is 0.2)."
        )
    if "splits" not in about:
        raise UserError(
            f"{folder.resolve()} does not say which of its videos are for training and for "
            "testing: it was not made by `sta-tsn features --backbone` or by an import."
        )
    if str(split) not in about["splits"]:
        known = ", ".join(about["splits"])
        raise ConfigError(f"{folder.resolve()} has splits {known}; split {split} was asked for.")
    sides = about["splits"][str(split)]
    listed = {video["id"]: video for video in about["videos"]}
    train = [listed[name] for name in sides["train"]]
    val = [listed[name] for name in sides["val"]]
    test = [listed[name] for name in sides["test"]]
    if not val:
        kept, held_out = hold_out_groups(_records(train), val_share, seed=split)
        val = [listed[record.id] for record in held_out]
        train = [listed[record.id] for record in kept]
    return StoredSplit(train, val, test, sides["missing"])


def few_of_each_class(videos: Sequence[dict], shots: int, seed: int) -> list[dict]:
    """Return `shots` videos of every class, of as many different sources as there are.

    Of a class with fewer videos all are taken; a video of several classes counts for each.

    Args:
        videos: to draw from.
        shots: of each class, at least 1.
        seed: of the draw.

    Raises:
        ConfigError: shots < 1.
    """
    if shots < 1:
        raise ConfigError(f"data.shots={shots}: labelled videos of each class, at least 1.")
    generator = np.random.default_rng([seed, shots])
    order = generator.permutation(len(videos)).tolist()
    labels: set[int] = set()
    for video in videos:
        labels.update(video["labels"])
    chosen: set[int] = set()
    for label in sorted(labels):
        own = [index for index in order if label in videos[index]["labels"]]
        seen: Counter[str] = Counter()
        turns = []
        for index in own:
            group = videos[index]["group"]
            turns.append((seen[group], len(turns), index))  # first videos of all sources first
            seen[group] += 1
        chosen.update(index for _, _, index in sorted(turns)[:shots])
    return [videos[index] for index in sorted(chosen)]


def _records(videos: Sequence[dict]) -> list[VideoRecord]:
    """Return the videos as records without a file."""
    return [
        VideoRecord(video["id"], Path(), tuple(video["labels"]), video["group"]) for video in videos
    ]
