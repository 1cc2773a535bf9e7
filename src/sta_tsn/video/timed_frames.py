"""Every frame of a video with the second at which a player shows it."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sta_tsn.datasets.decoding import DecodingInOrder, as_picture, moving_track, open_video
from sta_tsn.video import VideoReader

USUAL_FPS = 25.0  # of numbered pictures, and of files that tell no times
SHORTEST_SEC = 0.001  # between two frames; files with disordered times exist


class TimedFrame(NamedTuple):
    """A picture, uint8 (H, W, 3) RGB, and when it is shown, in seconds from the first one."""

    time_sec: float
    picture: np.ndarray


def timed_frames(path: str) -> Iterator[TimedFrame]:
    """Yield all frames of a readable video in order, one in memory at a time."""
    if Path(path).is_dir():
        for number, picture in enumerate(VideoReader(path).frames()):
            yield TimedFrame(number / USUAL_FPS, picture)
        return
    for time_sec, frame, size in _decoded(path):
        yield TimedFrame(time_sec, as_picture(frame, size))


def frame_times(path: str) -> list[float]:
    """Return when each frame of a readable video is shown, in seconds from the first one."""
    if Path(path).is_dir():
        return [number / USUAL_FPS for number in range(len(VideoReader(path)))]
    return [time_sec for time_sec, _, _ in _decoded(path)]


def length_fault(path: str, most_sec: float, formats: str) -> str:
    """Return why a received file is not looked at: no usual video, or too long; "" where it is.

    A long file is decoded no further than `most_sec`. Files without a track that moves pass: the
    reader says what is wrong with them.

    Args:
        path: of a file.
        most_sec: seconds that are looked at.
        formats: FFmpeg's names of containers, with commas; the file has to be one of them.
    """
    import av

    try:
        with av.open(f"file:{path}", options={"format_whitelist": formats}) as container:
            if not moving_track(container):
                return ""
        for time_sec, _, _ in _decoded(path):
            if time_sec > most_sec:
                return f"is longer than {most_sec:g} s; cut it, for example with ffmpeg -t."
    except av.FFmpegError:
        return "is no video that can be read (mp4, webm, mkv, avi, mpg, gif, flv, ...)."
    return ""


def duration_sec(times_sec: list[float]) -> float:
    """Return how long the frames last, the last one as long as frames do on average."""
    if len(times_sec) < 2:
        return 1 / USUAL_FPS
    return times_sec[-1] * len(times_sec) / (len(times_sec) - 1)


def _decoded(path: str) -> Iterator[tuple]:
    """Yield (time_sec, frame, size of the first frame) in order."""
    with open_video(path) as container:
        track = moving_track(container)
        step_sec = 1 / float(track.average_rate or USUAL_FPS)
        decoding = DecodingInOrder(container, track)
        first_sec = None
        last_sec = -step_sec
        for frame in decoding:
            # Not `frame.time`: it is no number for the frames that the decoder gives at the end.
            shown_sec = None if frame.pts is None else float(frame.pts * track.time_base)
            if shown_sec is None:
                time_sec = last_sec + step_sec
            elif first_sec is None:
                first_sec = shown_sec
                time_sec = 0.0
            else:
                time_sec = max(shown_sec - first_sec, last_sec + SHORTEST_SEC)
            yield time_sec, frame, decoding.size
            last_sec = time_sec
