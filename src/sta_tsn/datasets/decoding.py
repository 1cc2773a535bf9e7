"""How a video file is decoded, for counting and for reading alike: one track, one order, one size.

The track is the first one that moves: cover pictures are passed over, and of two cameras the first
is taken, whatever their sizes. Frame i is the i-th one that a player shows: edit lists are applied.
"""

import stat
import threading
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

import numpy as np

# What counts as a video in a folder where other files may lie, too.
VIDEO_SUFFIXES = frozenset(
    (
        ".3gp",
        ".avi",
        ".flv",
        ".gif",
        ".m2ts",
        ".m4v",
        ".mkv",
        ".mov",
        ".mp4",
        ".mpeg",
        ".mpg",
        ".mts",
        ".ogv",
        ".ts",
        ".webm",
        ".wmv",
    )
)


def why_not_decodable(path: str) -> str:
    """Return why `path` is nothing to decode (a pipe, an empty file); "" where it may be.

    Raises:
        OSError: where the file system does not answer.
    """
    status = Path(path).stat()
    if not stat.S_ISREG(status.st_mode):
        return "neither a file nor a folder (a pipe or a device)"
    return "" if status.st_size else "the file is empty"


def open_video(path: str):
    """Return PyAV's container; tags in another encoding than UTF-8 are no obstacle."""
    import av

    # "file:" keeps FFmpeg from taking the start of a name like 12:30.avi for a protocol.
    return av.open(f"file:{path}", metadata_errors="ignore")


def moving_track(container):
    """Return the first video track that is no cover picture, decoded by one thread; else None."""
    from av.stream import Disposition

    for track in container.streams.video:
        if not track.disposition & Disposition.attached_pic:
            track.codec_context.thread_count = 1
            return track
    return None


class DecodingInOrder:
    """Iterate over the frames of a track from the start, passing over packets that do not decode.

    Args:
        container: of `open_video`, at its start.
        track: of `moving_track`.

    After the iteration `num_broken` packets did not decode, `ended_early` says whether the file
    broke off with an error, and `size` is (width, height) of the first frame as it is stored.
    """

    def __init__(self, container, track):
        self.container = container
        self.track = track
        self.num_broken = 0
        self.ended_early = False
        self.size = None

    def __iter__(self) -> Iterator:
        import av

        for packet in self._packets():
            try:
                frames = self.track.codec_context.decode(packet)
            except (av.InvalidDataError, av.PatchWelcomeError):
                self.num_broken += 1
                continue
            for frame in frames:
                self.size = self.size or (frame.width, frame.height)
                yield frame

    def _packets(self) -> Iterator:
        """Yield the packets and, at the end, None: the decoder then gives what it still holds."""
        import av

        try:
            for packet in self.container.demux(self.track):
                if packet.size:
                    yield packet
        except av.InvalidDataError:
            self.ended_early = True
        yield None


class _Conversion(threading.local):
    """From a decoder's colours to RGB, one for each thread.

    FFmpeg keeps what it has set up for the frame before; to set that up anew for each frame costs
    three times the conversion itself.
    """

    def __init__(self):
        import av
        from av.video.reformatter import VideoReformatter

        self.reformat = VideoReformatter().reformat
        # From version 17 on PyAV starts threads for it. A process that is forked later (a data
        # loader's worker) has none of them, and would wait for them for ever.
        if int(av.__version__.partition(".")[0]) >= 17:
            self.reformat = partial(self.reformat, threads=1)


@cache
def _conversion() -> _Conversion:
    return _Conversion()  # not before it is needed: PyAV takes its time to import


def as_picture(frame, size: tuple[int, int]) -> np.ndarray:
    """Return a frame as a player shows it, uint8 RGB.

    Telephones store how they were held: the frame is turned. Where the size changes within the
    file, the frame is scaled to the first one's.

    Args:
        frame: of PyAV.
        size: (width, height) of the first frame, as it is stored.
    """
    width, height = size
    picture = _conversion().reformat(frame, width, height, "rgb24").to_ndarray()
    return np.rot90(picture, round(frame.rotation / 90)) if frame.rotation else picture
