"""Unrelated footage: videos of classes that the dataset does not have, one side of a split each."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sta_tsn.errors import DatasetError

FEWEST_SOURCES = 4  # two on each side: what lies before a clip and what lies behind
_CLIP_NUMBER = re.compile(r"[_\-. ]+(c|clip|part)\d+$", re.IGNORECASE)


@dataclass(frozen=True)
class Footage:
    """Name one unrelated video.

    Args:
        id: `<folder>/<file>`.
        path: of the file.
        source: the video that it was cut from; clips whose names differ in `_c01`, `_clip1` or
            `_part1` at their end alone are of one source.
    """

    id: str
    path: Path
    source: str


def list_footage(folders: Sequence[str | Path]) -> list[Footage]:
    """Return every file of the folders, hidden ones and folders inside them aside.

    Raises:
        DatasetError: a folder is not there, or there are fewer than four sources.
    """
    found = []
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise DatasetError(
                f"Unrelated footage: no folder {folder.resolve()}. Name folders of "
                "videos that show none of the dataset's classes."
            )
        for path in sorted(folder.iterdir()):
            if path.is_file() and not path.name.startswith("."):
                source = f"{folder.name}/{_CLIP_NUMBER.sub('', path.stem)}"
                found.append(Footage(f"{folder.name}/{path.name}", path, source))
    sources = {video.source for video in found}
    if len(sources) < FEWEST_SOURCES:
        raise DatasetError(
            f"Unrelated footage: {len(found)} videos of {len(sources)} sources in "
            f"{', '.join(map(str, folders))}; at least {FEWEST_SOURCES} sources are needed, half "
            "for training and half for testing."
        )
    return found


def divide(footage: Sequence[Footage], seed: int) -> tuple[list[Footage], list[Footage]]:
    """Return the footage for training and for testing, a random half of the sources each."""
    sources = sorted({video.source for video in footage})
    order = np.random.default_rng(seed).permutation(len(sources))
    half = order[: len(sources) // 2]
    for_training = {sources[index] for index in half}
    train = []
    test = []
    for video in footage:
        side = train if video.source in for_training else test
        side.append(video)
    return train, test
