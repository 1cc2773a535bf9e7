"""`sta-tsn explain`: a page for every video, and what can be shown of it elsewhere."""

import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from rich.console import Console
from rich.progress import track

from sta_tsn.artefacts import atomic, provenance, save_figure, write_json
from sta_tsn.attention.explain import attention_figure, plot_attention
from sta_tsn.errors import UserError
from sta_tsn.explanation.annotated import AnnotatedFrames
from sta_tsn.explanation.bars import Bar, bars_of
from sta_tsn.explanation.encoding import ClipWriter, resized, shown_size
from sta_tsn.explanation.explained_video import ExplainedStream, ExplainedVideo, explained_video
from sta_tsn.explanation.explanation_page import Listed, Shown, write_explanation, write_index
from sta_tsn.explanation.sentences import effective_share, when_sentence, where_sentence
from sta_tsn.prediction.command import listed_videos
from sta_tsn.prediction.predictor import Model, load
from sta_tsn.video.timed_frames import duration_sec, frame_times, timed_frames

INDEX = "index"
THUMBNAIL_PX = 320
LONGEST_NAME = 80


@dataclass
class _Made:
    """What was written; names are taken once."""

    folder: Path
    checkpoints: list[str]
    names: set[str] = field(default_factory=lambda: {INDEX})

    def name_of(self, video: str) -> str:
        """Return a file name without ending for a video: letters, digits and a few signs."""
        stem = re.sub(r"[^\w.()+&!-]+", "_", Path(video).stem).lstrip(".")[:LONGEST_NAME]
        stem = stem or "video"
        name = stem
        number = 2
        while name.lower() in self.names:
            name = f"{stem}-{number}"
            number += 1
        self.names.add(name.lower())
        return name


def explain_picture(video: str, checkpoint: str, picture: Path) -> None:
    """Classify one video and draw the paper's Figure 6 of it, nothing else."""
    model = load(checkpoint)
    for note in model.notes:
        print(note)
    explained = explained_video(model, video)
    if explained.fault:
        print(f"{video}: {explained.fault}. Only those are looked at.")
    for label, probability in explained.best():
        print(f"{probability:7.1%}  {label}")
    title = f"{explained.name}: {explained.best(1)[0][0]}"
    times_sec = frame_times(explained.path)
    attention_figure(explained.streams[0].explained, title, picture, times_sec)
    print(f"Attention: {picture.resolve()}")


def explain(videos: Sequence[str], checkpoints: Sequence[str], folder: Path) -> list[Listed]:
    """Write a page for every video, its annotated MP4, figures and numbers; a list of several.

    A video that cannot be read is named with its reason, and the others are done.

    Args:
        videos: files, folders, and lists (.txt).
        checkpoints: one, or two whose streams are shown side by side.
        folder: to write to.

    Raises:
        UserError: no video was found, or none could be read.
    """
    found = listed_videos(videos)
    model = load(*checkpoints)
    for note in model.notes:
        print(note)
    if len(found) > 1:
        model.fold()
    made = _Made(folder, [str(checkpoint) for checkpoint in checkpoints])
    lines = []
    for video in track(found, description="Explaining", console=Console(stderr=True)):
        try:
            line = _explain_one(model, video, made)
            print(f"{video}: {line.answer}, {line.probability:.1%}: {folder / line.page}")
        except UserError as error:
            line = Listed(video, reason=getattr(error, "reason", "") or str(error))
            print(f"{video}: not explained: {line.reason}")
        lines.append(line)
    if all(line.reason for line in lines):
        raise UserError(
            f"none of {len(lines)} videos could be read; the reasons stand above. "
            "Convert them with ffmpeg, or give others."
        )
    if len(lines) > 1:
        write_index(lines, folder / f"{INDEX}.html")
        print(f"All of them: {(folder / f'{INDEX}.html').resolve()}")
    return lines


def _explain_one(model: Model, path: str, made: _Made) -> Listed:
    video = explained_video(model, path)
    name = made.name_of(video.path)
    shown = shown_video(video, made.folder / f"{name}.mp4")
    figures = _write_figures(video, shown.times_sec, made.folder, name)
    shown = replace(shown, beside=[f"{name}.mp4", f"{name}.json", *figures])
    write_json(made.folder / f"{name}.json", _numbers(video, shown, made.checkpoints))
    write_explanation(video, shown, made.folder / f"{name}.html")
    (label, probability), *_ = video.best(1)
    size = shown_size(*shown.poster.shape[:2], THUMBNAIL_PX)
    return Listed(path, f"{name}.html", label, probability, resized(shown.poster, size))


def shown_video(video: ExplainedVideo, annotated: Path | None = None) -> Shown:
    """Return what a page shows of a video beside what the networks said.

    Args:
        video: what they said.
        annotated: MP4 file to write with all that is said burnt in; None: it is not made.
    """
    times_sec = frame_times(video.path)
    lasts_sec = duration_sec(times_sec)
    answer = int(video.probabilities.argmax())
    bars = [bars_of(stream, times_sec, lasts_sec, answer) for stream in video.streams]
    clip, poster = _write_clips(video, bars, lasts_sec, annotated)
    return Shown(clip, poster, times_sec, lasts_sec, bars, [])


def _write_clips(
    video: ExplainedVideo, bars: list[list[Bar]], lasts_sec: float, annotated: Path | None
) -> tuple[bytes, np.ndarray]:
    """Write the annotated video; return the plain one (MP4), and its most attended picture."""
    strongest = max(bars[0], key=lambda bar: bar.value).frame
    size = None
    with TemporaryDirectory() as place:
        plain = Path(place, "clip.mp4")
        with ExitStack() as files:
            player = files.enter_context(ClipWriter(plain, lasts_sec))
            if annotated:
                temporary = files.enter_context(atomic(annotated))
                burnt_in = files.enter_context(ClipWriter(temporary, lasts_sec))
            for number, frame in enumerate(timed_frames(video.path)):
                if size is None:
                    size = shown_size(*frame.picture.shape[:2])
                    drawing = AnnotatedFrames(video, bars, lasts_sec, size)
                picture = resized(frame.picture, size)
                if number == strongest:
                    poster = picture
                player.write(frame.time_sec, picture)
                if annotated:
                    burnt_in.write(frame.time_sec, drawing.at(number, frame.time_sec, picture))
        return plain.read_bytes(), poster


def _write_figures(
    video: ExplainedVideo, times_sec: list[float], folder: Path, name: str
) -> list[str]:
    """Draw the paper's Figure 6 of each stream, and return the files' names."""
    title = f"{video.name}: {video.best(1)[0][0]}"
    written = []
    for stream in video.streams:
        stem = name if len(video.streams) == 1 else f"{name}_{stream.modality.lower()}"
        if f"{stem}.png" in written:  # two streams of one modality
            stem += "-2"
        figure = plot_attention(stream.explained, title, times_sec)
        for ending in ("png", "svg"):
            save_figure(figure, folder / f"{stem}.{ending}")
            written.append(f"{stem}.{ending}")
    return written


def _numbers(video: ExplainedVideo, shown: Shown, checkpoints: list[str]) -> dict:
    """Return everything that the page says, as numbers."""
    probabilities = zip(video.classes, video.probabilities.tolist(), strict=True)
    streams = []
    for stream, checkpoint, bars in zip(video.streams, checkpoints, shown.bars, strict=True):
        streams.append({"checkpoint": checkpoint, **_of_stream(stream, bars, video, shown)})
    return {
        "video": video.path,
        "fault": video.fault,
        "num_frames": video.num_frames,
        "duration_sec": shown.duration_sec,
        "crops": "centre",
        "answer": [{"label": label, "probability": share} for label, share in video.best(2)],
        "probabilities": dict(probabilities),
        "streams": streams,
        "made_by": provenance(),
    }


def _of_stream(
    stream: ExplainedStream, bars: list[Bar], video: ExplainedVideo, shown: Shown
) -> dict:
    answer = int(video.probabilities.argmax())
    own = zip(video.classes, stream.probabilities.tolist(), strict=True)
    frames = []
    for number, bar in enumerate(bars):
        frame = {"segment": bar.segment + 1, "frame": bar.frame, "time_sec": bar.time_sec}
        if stream.beta is not None:
            frame["beta"] = bar.value
        else:
            frame["probability_of_answer_alone"] = bar.value
        if stream.alpha is not None:
            frame["alpha"] = stream.alpha[0].flatten(0, 1)[number].tolist()
        frames.append(frame)
    found = {
        "network": stream.network,
        "modality": stream.modality,
        "probabilities": dict(own),
        "when": when_sentence(stream, shown.times_sec, answer),
        "where": where_sentence(stream),
    }
    if stream.beta is not None:
        found["effective_share_beta"] = effective_share(stream.beta)
    if stream.alpha is not None:
        maps = stream.alpha[0].flatten(0, 1).flatten(1).numpy()
        found["effective_share_alpha"] = effective_share(maps)
    return {**found, "frames": frames}
