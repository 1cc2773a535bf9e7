"""Frames of one video by index, exact: PyAV, by presentation time. Imported on first use."""

from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from sta_tsn.datasets.decoding import (
    DecodingInOrder,
    as_picture,
    moving_track,
    open_video,
    why_not_decodable,
)
from sta_tsn.datasets.manifest import numbered_pictures, probe
from sta_tsn.errors import VideoReadError

# Containers that store a presentation time for every frame and mark the key frames.
TIMED_FORMATS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
# AVI numbers its packets instead. That is a time where frames are shown in the order in which they
# are stored, and a start where nothing after a key frame refers to what is before it.
NUMBERED_FORMAT = "avi"
RESTARTED_BY_KEY_FRAMES = ("mpeg4", "mjpeg")
DENSE = 4  # one of so many frames is wanted: looking for key frames saves nothing
SAVED_BY_JUMPS = 0.6  # of the frames that decoding in order costs; else jumping does not pay


class VideoReader:
    """Open nothing until asked, and keep nothing open, so that readers survive a fork.

    Frame i is the i-th one that a player shows when the track (the first that is no cover picture)
    is decoded in order. Where few frames of a long file are wanted, the reader jumps to the key
    frame before each and decodes on until the presentation time is the wanted one. It does so
    only where each counted frame has a packet with a time of its own (in AVI, which numbers
    packets instead: where they are stored in the order of showing); whatever does not fit sends it
    back to decoding in order.

    Args:
        path: a video file in any container and codec that FFmpeg knows, or a folder of numbered
            pictures.
        num_frames: frames that decode, as the manifest has counted. None: frames are read in
            order, and `len(reader)` decodes the file once (container headers lie).

    Raises:
        VideoReadError: naming the path and the reason, from `len` and `read`.
    """

    def __init__(self, path, num_frames: int | None = None):
        self.path = str(path)
        self.num_frames = num_frames

    def __len__(self) -> int:
        if self.num_frames:
            return self.num_frames
        if not self._probed.get("num_frames"):
            raise VideoReadError(self.path, self._probed["reason"])
        return self._probed["num_frames"]

    @property
    def fault(self) -> str:
        """Return what is wrong with a file whose frames decode, a cut-off end say; else empty."""
        return self._probed.get("reason") or self._probed.get("note", "")

    @cached_property
    def _probed(self) -> dict:
        try:
            return probe(self.path)
        except OSError as error:
            raise VideoReadError(self.path, error.strerror) from error

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """Return frames `indices` (0-based, any order, repeats allowed), uint8 (n, H, W, 3) RGB."""
        indices = [int(index) for index in indices]
        if not indices:
            raise ValueError("read() needs at least one frame index")
        if min(indices) < 0:
            raise ValueError(f"frame indices are 0-based and not negative: {min(indices)}")
        ascending = sorted(set(indices))
        pictures = dict(zip(ascending, self._read(ascending), strict=True))
        return np.stack([pictures[index] for index in indices])

    def frames(self) -> Iterator[np.ndarray]:
        """Yield every frame in order, uint8 (H, W, 3) RGB, one in memory at a time."""
        if Path(self.path).is_dir():
            for index in range(len(numbered_pictures(Path(self.path)))):
                yield _read_pictures(self.path, [index])[0]
            return
        for frame, size in self._decoded():
            yield as_picture(frame, size)

    def chosen(self, indices: Collection[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield some frames with their indices, in order; the others are decoded, no more.

        Args:
            indices: of frames that are wanted; those beyond the end are left out.
        """
        last = max(indices, default=-1)
        if Path(self.path).is_dir():
            for index in sorted(indices):
                yield index, _read_pictures(self.path, [index])[0]
            return
        for number, (frame, size) in enumerate(self._decoded()):
            if number in indices:
                yield number, as_picture(frame, size)
            if number >= last:
                return

    def _read(self, ascending: list[int]) -> Sequence[np.ndarray]:
        if Path(self.path).is_dir():
            return _read_pictures(self.path, ascending)
        if self.num_frames and ascending[-1] >= DENSE * len(ascending):
            pictures = self._read_by_jumps(ascending)
            if pictures is not None:
                return pictures
        return self._read_in_order(ascending)

    def _read_in_order(self, ascending: list[int]) -> list[np.ndarray]:
        pictures = []
        wanted = set(ascending)
        num_seen = 0
        for frame, size in self._decoded():
            if num_seen in wanted:
                pictures.append(as_picture(frame, size))
            if num_seen == ascending[-1]:
                return pictures
            num_seen += 1
        raise _too_short(self.path, ascending[-1], num_seen)

    def _decoded(self) -> Iterator[tuple]:
        """Yield (frame, size of the first frame) in order."""
        import av

        try:
            self._check_path()
            with open_video(self.path) as container:
                track = moving_track(container)
                if track is None:
                    raise VideoReadError(self.path, "the file holds no video stream")
                decoding = DecodingInOrder(container, track)
                for frame in decoding:
                    yield frame, decoding.size
        except (av.FFmpegError, OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise VideoReadError(self.path, f"PyAV cannot decode it: {why}") from error

    def _check_path(self) -> None:
        why_not = why_not_decodable(self.path)
        if why_not:
            raise VideoReadError(self.path, why_not)

    def _read_by_jumps(self, ascending: list[int]) -> list[np.ndarray] | None:
        """Return the frames, or None where jumps do not pay or anything is in doubt."""
        import av

        try:
            self._check_path()
            with open_video(self.path) as container:
                track = moving_track(container)
                if track is None or not _tells_times(container, track):
                    return None
                times = _PresentationTimes(container, track)
                if not times.are_of(self.num_frames) or not times.jumps_pay(ascending):
                    return None
                if container.format.name == NUMBERED_FORMAT and not times.in_order:
                    return None
                return _jump(container, track, times, ascending)
        except (av.FFmpegError, OSError, ValueError, _InDoubtError):
            return None  # reading in order names the fault, if there is one


def _tells_times(container, track) -> bool:
    if container.format.name == NUMBERED_FORMAT:
        return track.codec_context.name in RESTARTED_BY_KEY_FRAMES
    return container.format.name in TIMED_FORMATS


class _InDoubtError(Exception):
    """A jump did not land where it should have."""


class _PresentationTimes:
    """Know when each frame is shown and where decoding may begin, from packets, undecoded.

    Args:
        container: at its start; it is read to its end.
        track: whose packets.
    """

    def __init__(self, container, track):
        shown = []
        keys = []
        self.complete = True
        self.in_order = True  # frames are shown as they are stored, at one distance
        for packet in container.demux(track):
            if not packet.size:
                continue
            if packet.pts is None or packet.is_corrupt:
                self.complete = False
                return
            if packet.is_keyframe:
                keys.append(packet.pts)
            if packet.pts != packet.dts or (shown and packet.pts != shown[-1] + 1):
                self.in_order = False
            if not packet.is_discard:
                shown.append(packet.pts)
        self.shown = np.unique(np.array(shown, np.int64))
        self.keys = np.unique(np.array(keys, np.int64))

    def are_of(self, num_frames: int) -> bool:
        """Return whether every frame that decodes has a time of its own, and there is no other."""
        return self.complete and len(self.shown) == num_frames

    def key_before(self, time: int) -> int:
        """Return the time of the last key frame that is not after `time`."""
        position = np.searchsorted(self.keys, time, side="right") - 1
        if position < 0:
            raise _InDoubtError
        return int(self.keys[position])

    def jumps_pay(self, ascending: list[int]) -> bool:
        """Return whether jumps decode clearly fewer frames than reading in order does."""
        if ascending[-1] >= len(self.shown):
            return False
        num_decoded = 0
        last = -1
        for index in ascending:
            key = self.key_before(int(self.shown[index]))
            first = int(np.searchsorted(self.shown, key))
            num_decoded += index - max(first - 1, last)
            last = index
        return num_decoded < SAVED_BY_JUMPS * (ascending[-1] + 1)


def _jump(container, track, times: _PresentationTimes, ascending: list[int]) -> list[np.ndarray]:
    size = (track.width, track.height)
    pictures = []
    reached = None  # time of the last frame that was decoded
    for index in ascending:
        time = int(times.shown[index])
        key = times.key_before(time)
        if reached is None or key > reached:
            frames = _from_key_frame(container, track, key)
        frame = _at_time(frames, time)
        if (frame.width, frame.height) != size:
            raise _InDoubtError
        pictures.append(as_picture(frame, size))
        reached = time
    return pictures


def _from_key_frame(container, track, key: int) -> Iterator:
    container.seek(key, stream=track)
    numbered = container.format.name == NUMBERED_FORMAT
    landed = False
    for packet in container.demux(track):
        if packet.size and not landed:
            # A later key frame would give frames before it that lack what they refer to.
            if not packet.is_keyframe or packet.pts is None or packet.pts > key:
                raise _InDoubtError
            landed = True
        for frame in packet.decode():
            # AVI's index says which packets are key frames, and may be wrong.
            if frame.pts == key and numbered and not frame.key_frame:
                raise _InDoubtError
            yield frame


def _at_time(frames: Iterator, time: int):
    for frame in frames:
        if frame.pts is None or frame.is_corrupt or frame.pts > time:
            raise _InDoubtError
        if frame.pts == time:
            return frame
    raise _InDoubtError


def _read_pictures(path: str, indices: list[int]) -> np.ndarray:
    import cv2

    files = numbered_pictures(Path(path))
    if indices[-1] >= len(files):
        raise _too_short(path, indices[-1], len(files))
    pictures = [cv2.imread(str(files[index])) for index in indices]
    for index, picture in zip(indices, pictures, strict=True):
        if picture is None:
            raise VideoReadError(path, f"{files[index].name} is not a readable picture")
    return np.stack(pictures)[..., ::-1]


def _too_short(path: str, index: int, num_frames: int) -> VideoReadError:
    return VideoReadError(
        path,
        f"frame {index} was asked for, {num_frames} decode; if the file changed, delete its "
        "manifest.csv to count again",
    )
