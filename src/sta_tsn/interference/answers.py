"""What the report reads of fitted rows, in a file small enough to be kept beside the report.

300 score tables of JHMDB are 34 MB; the classes that were answered and the counts of key frames
that were found are 0.1 MB, and the whole report follows from them.
"""

import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sta_tsn.artefacts import DAMAGED, atomic, first_line
from sta_tsn.errors import UserError
from sta_tsn.evaluation import ScoreTable
from sta_tsn.interference.measures import FoundFrames, found_in_segments, found_in_videos


class TestVideos(NamedTuple):
    """Hold the V test videos of a split: ids, sources, and labels bool (V, K)."""

    __test__ = False  # no test, whatever its name begins with

    ids: list[str]
    sources: list[str]
    labels: Tensor


class InterferenceRun(NamedTuple):
    """What one fitted row answered.

    Attributes:
        row: its name.
        share: of unrelated frames.
        split: official split.
        seed: of its fitting.
        videos: that it was tested on.
        top: (V,), the class of the highest score.
        in_videos: key frames that its weights find among all of a video.
        in_segments: the same in single segments.
    """

    row: str
    share: Fraction
    split: int
    seed: int
    videos: TestVideos
    top: Tensor
    in_videos: FoundFrames
    in_segments: FoundFrames

    @property
    def right(self) -> Tensor:
        """Return 1.0 where the top class is among a video's labels, else 0.0, (V,)."""
        return self.videos.labels.gather(1, self.top[:, None]).squeeze(1).double()


def run_of_table(
    row: str, share: Fraction, table: ScoreTable, key_frames: Tensor
) -> InterferenceRun:
    """Return what a score table says.

    Args:
        row: name of the fitted row.
        share: of unrelated frames.
        table: of the row; its protocol names split and seed.
        key_frames: bool (V, N, T), in the order of the table.
    """
    weights = table.temporal_weights
    return InterferenceRun(
        row,
        share,
        table.protocol["split"],
        table.protocol["seed"],
        TestVideos(list(table.ids), list(table.groups), table.labels.bool()),
        table.scores.argmax(1),
        found_in_videos(weights, key_frames),
        found_in_segments(weights, key_frames),
    )


def save_answers(runs: Sequence[InterferenceRun], facts: dict[str, str], path: Path) -> None:
    """Write all runs into one file.

    Args:
        runs: of one dataset, of at most 256 classes and 255 frames a video.
        facts: what else the report tells, by name.
        path: of the file.
    """
    videos = {str(run.split): run.videos for run in runs}
    about = {
        "facts": facts,
        "runs": [[run.row, str(run.share), run.split, run.seed] for run in runs],
        "ids": {split: of.ids for split, of in videos.items()},
        "sources": {split: of.sources for split, of in videos.items()},
        "num_frames": [runs[0].in_videos.num_frames, runs[0].in_segments.num_frames],
        "num_found": [[len(run.in_videos.num_key), len(run.in_segments.num_key)] for run in runs],
    }
    arrays = {"about": np.frombuffer(json.dumps(about).encode(), np.uint8)}
    for split, of in videos.items():
        arrays[f"labels_{split}"] = of.labels.numpy()
    arrays["top"] = _bytes([run.top for run in runs])
    parts = []
    for run in runs:
        parts.extend(_parts(run))
    arrays["found"] = _bytes([part.num_found for part in parts])
    arrays["key"] = _bytes([part.num_key for part in parts])
    with atomic(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)


def load_answers(path: Path) -> tuple[list[InterferenceRun], dict[str, str]]:
    """Return the runs and the facts that `save_answers` wrote.

    Raises:
        UserError: the file is damaged.
    """
    try:
        with np.load(path) as opened:
            arrays = {name: opened[name] for name in opened.files}
        about = json.loads(arrays["about"].tobytes())
    except (OSError, *DAMAGED) as error:
        raise UserError(f"{path} is damaged ({first_line(error)}). Fetch it again.") from error
    videos = {}
    for split, ids in about["ids"].items():
        labels = torch.from_numpy(arrays[f"labels_{split}"])
        videos[int(split)] = TestVideos(ids, about["sources"][split], labels)
    top = _Reader(arrays["top"])
    found = _Reader(arrays["found"])
    key = _Reader(arrays["key"])
    runs = []
    for (row, share, split, seed), numbers in zip(about["runs"], about["num_found"], strict=True):
        parts = []
        for number, num_frames in zip(numbers, about["num_frames"], strict=True):
            parts.append(FoundFrames(found.take(number), key.take(number), num_frames))
        of = videos[split]
        answers = top.take(len(of.ids))
        runs.append(InterferenceRun(row, Fraction(share), split, seed, of, answers, *parts))
    return runs, about["facts"]


class _Reader:
    """Hand out the numbers of an array, one part after another."""

    def __init__(self, numbers: np.ndarray):
        self.numbers = torch.from_numpy(numbers).long()
        self.place = 0

    def take(self, number: int) -> Tensor:
        part = self.numbers[self.place : self.place + number]
        self.place += number
        return part


def _parts(run: InterferenceRun) -> tuple[FoundFrames, FoundFrames]:
    return run.in_videos, run.in_segments


def _bytes(parts: Sequence[Tensor]) -> np.ndarray:
    return torch.cat(list(parts)).to(torch.uint8).numpy()
