"""What a prediction is, and how it is written down."""

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from sta_tsn.artefacts import atomic, plain_cell, write_json

COLUMNS = ("video", "start_sec", "end_sec", "rank", "label", "probability")


@dataclass(frozen=True)
class ClassProbability:
    """One class and its probability (0 to 1)."""

    label: str
    probability: float


@dataclass(frozen=True)
class Segment:
    """One window of a long video.

    start_sec, end_sec: from the video's beginning. top: the most probable classes, best first.
    """

    start_sec: float
    end_sec: float
    top: tuple[ClassProbability, ...]

    @property
    def label(self) -> str:
        return self.top[0].label

    @property
    def probability(self) -> float:
        return self.top[0].probability


@dataclass(frozen=True)
class Prediction:
    """One whole video.

    path: of the file. top: the most probable classes, best first. probabilities: of all classes, in
    the order of `Model.classes`. fault: what is wrong with a file of which frames decode all
    the same.
    """

    path: str
    top: tuple[ClassProbability, ...]
    probabilities: tuple[float, ...]
    fault: str = ""

    @property
    def label(self) -> str:
        return self.top[0].label

    @property
    def probability(self) -> float:
        return self.top[0].probability


@dataclass(frozen=True)
class VideoAnswer:
    """One video: predicted as a whole, or by windows, or why it could not be read."""

    video: str
    prediction: Prediction | None = None
    segments: tuple[Segment, ...] = ()
    reason: str = ""


def write_predictions(folder: Path, answers: Sequence[VideoAnswer], about: dict) -> None:
    """Write `predictions.csv`, a line per class, and `predictions.json`, which holds everything.

    Args:
        folder: made where it is missing.
        answers: of all videos, unreadable ones too.
        about: checkpoints and protocol.
    """
    with (
        atomic(folder / "predictions.csv") as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for answer in answers:
            writer.writerows(_rows(answer))
    content = {
        **about,
        "videos": [_as_dict(answer) for answer in answers if not answer.reason],
        "unreadable": [
            {"video": answer.video, "reason": answer.reason} for answer in answers if answer.reason
        ],
    }
    write_json(folder / "predictions.json", content)


def _rows(answer: VideoAnswer) -> list[tuple]:
    rows = []
    video = plain_cell(answer.video)
    if answer.prediction:
        for rank, one in enumerate(answer.prediction.top, 1):
            label = plain_cell(one.label)
            rows.append((video, "", "", rank, label, f"{one.probability:.6f}"))
    for segment in answer.segments:
        span = (f"{segment.start_sec:.3f}", f"{segment.end_sec:.3f}")
        for rank, one in enumerate(segment.top, 1):
            label = plain_cell(one.label)
            rows.append((video, *span, rank, label, f"{one.probability:.6f}"))
    return rows


def _as_dict(answer: VideoAnswer) -> dict:
    if answer.prediction:
        return {"video": answer.video, **asdict(answer.prediction)}
    segments = [
        {**asdict(segment), "label": segment.label, "probability": segment.probability}
        for segment in answer.segments
    ]
    return {"video": answer.video, "segments": segments}
