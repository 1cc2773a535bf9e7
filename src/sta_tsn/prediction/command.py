"""`sta-tsn predict`: many videos, a table on the screen, and files."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from sta_tsn.artefacts import provenance
from sta_tsn.datasets.decoding import VIDEO_SUFFIXES
from sta_tsn.datasets.manifest import numbered_pictures
from sta_tsn.errors import UserError
from sta_tsn.prediction.predictor import Model, NumCrops, load
from sta_tsn.prediction.results import VideoAnswer, write_predictions

LIST_SUFFIX = ".txt"


@dataclass(frozen=True)
class PredictOptions:
    """What is predicted, by what, and how; see `sta-tsn predict --help`.

    window_sec: None for videos as a whole.
    """

    videos: Sequence[str]
    checkpoints: Sequence[str]
    top: int = 5
    crops: NumCrops = 10
    window_sec: float | None = None
    stride_sec: float | None = None
    out: str | None = None


def predict(options: PredictOptions) -> list[VideoAnswer]:
    """Predict every video, print the answers, and write them where `out` names a folder.

    A video that cannot be read is named with its reason, and the others are done.

    Raises:
        UserError: no video was found, or none could be read.
    """
    if options.top < 1:
        raise UserError(f"top={options.top}: give the number of classes to name, at least 1.")
    if options.stride_sec is not None and options.window_sec is None:
        raise UserError("stride_sec is of windows; give window_sec too.")
    videos = listed_videos(options.videos)
    model = load(*options.checkpoints)
    for note in model.notes:
        print(note)
    answers = []
    columns = (
        TextColumn("Predicting"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("", total=len(videos))
        for video in videos:
            _describe(progress, bar, Path(video).name)
            answer = _answer(model, video, options, partial(_describe, progress, bar))
            progress.advance(bar)
            answers.append(answer)
            for line in _lines(answer):
                print(line, flush=True)
    if options.out:
        write_predictions(Path(options.out), answers, _about(options, model))
        print(f"Predictions: {Path(options.out).resolve()}/predictions.csv and .json")
    unreadable = [answer for answer in answers if answer.reason]
    if len(unreadable) == len(answers):
        raise UserError(
            f"none of {len(answers)} videos could be read; the reasons stand above. "
            "Convert them with ffmpeg, or give others."
        )
    if unreadable:
        print(f"{len(unreadable)} of {len(answers)} videos could not be read; reasons above.")
    return answers


def listed_videos(places: Sequence[str]) -> list[str]:
    """Return the videos that files, folders and lists (.txt, a path a line) name, each once.

    Relative paths in a list are relative to the list's folder. Of a folder those files count that
    have a video's suffix, at any depth; a folder of numbered pictures is one video.

    Raises:
        UserError: a list that is not there, or a folder without a video.
    """
    videos = []
    for place in places:
        path = Path(place)
        if path.is_dir():
            videos += _of_folder(path)
        elif path.suffix.lower() == LIST_SUFFIX:
            videos += _of_list(path)
        else:
            videos.append(place)
    return list(dict.fromkeys(videos))


def _of_folder(folder: Path) -> list[str]:
    if numbered_pictures(folder):
        return [str(folder)]
    videos = [
        str(path)
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".")
    ]
    if not videos:
        raise UserError(
            f"{folder} holds no video ({', '.join(sorted(VIDEO_SUFFIXES))}); give another folder."
        )
    return videos


def _of_list(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        text = f"{path} cannot be read as a list of videos, a path a line: {error}."
        raise UserError(text) from error
    names = [line.strip() for line in lines if line.strip()]
    return [name if "://" in name else str(path.parent / name) for name in names]


def _answer(
    model: Model, video: str, options: PredictOptions, say: Callable[[str], None]
) -> VideoAnswer:
    try:
        if options.window_sec is None:
            return VideoAnswer(video, model.predict(video, options.top, options.crops))
        segments = []
        lengths = (options.window_sec, options.stride_sec)
        for segment in model.predict_windows(video, *lengths, options.top, options.crops):
            segments.append(segment)
            say(f"{Path(video).name}: {segment.end_sec:.0f} s")
        return VideoAnswer(video, segments=tuple(segments))
    except UserError as error:
        return VideoAnswer(video, reason=getattr(error, "reason", "") or str(error))


def _describe(progress: Progress, bar: TaskID, text: str) -> None:
    progress.update(bar, description=escape(text))


def _lines(answer: VideoAnswer) -> list[str]:
    if answer.reason:
        return [f"{answer.video}: not predicted: {answer.reason}"]
    lines = [answer.video]
    if answer.prediction:
        if answer.prediction.fault:
            lines[0] += f" ({answer.prediction.fault})"
        lines += [f"{one.probability:8.1%}  {one.label}" for one in answer.prediction.top]
    for segment in answer.segments:
        span = f"{segment.start_sec:8.2f} to {segment.end_sec:8.2f} s"
        lines.append(f"{span} {segment.probability:8.1%}  {segment.label}")
    return lines


def _about(options: PredictOptions, model: Model) -> dict:
    return {
        "checkpoints": [str(checkpoint) for checkpoint in options.checkpoints],
        "classes": model.classes,
        "protocol": {
            "crops": options.crops,
            "frames": [list(stream.read) for stream in model.streams],
            "window_sec": options.window_sec,
            "stride_sec": options.stride_sec,
        },
        "made_by": provenance(),
    }
