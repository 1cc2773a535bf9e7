"""Frames of one video by index. decord where it has wheels, PyAV elsewhere; both imported on first use."""

from collections.abc import Iterator, Sequence
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from sta_tsn.datasets.manifest import numbered_pictures, probe
from sta_tsn.errors import VideoReadError


class VideoReader:
    """Opens nothing until asked, and keeps nothing open: decord's readers leak and do not survive a fork.

    Args:
        path: a video file in any container and codec that FFmpeg knows, or a folder of numbered pictures.

    `len(reader)` counts the frames that decode (container headers lie) by decoding the file once; a dataset
    has that number from its manifest.

    Raises:
        VideoReadError: naming the path and the reason, from `len` and `read`.
    """

    def __init__(self, path):
        self.path = str(path)

    def __len__(self) -> int:
        if not self._probed.get("num_frames"):
            raise VideoReadError(self.path, self._probed["reason"])
        return self._probed["num_frames"]

    @property
    def fault(self) -> str:
        """What is wrong with the file though frames decode: it is cut off, say. Empty where nothing is."""
        return self._probed.get("reason", "")

    @cached_property
    def _probed(self) -> dict:
        try:
            return probe(self.path)
        except OSError as error:
            raise VideoReadError(self.path, error.strerror) from error

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """Frames `indices` (0-based, any order, repeats allowed) as uint8 (n, H, W, 3), RGB."""
        indices = [int(index) for index in indices]
        if not indices:
            raise ValueError("read() needs at least one frame index")
        if min(indices) < 0:
            raise ValueError(f"frame indices are 0-based and not negative: {min(indices)}")
        wanted, order = np.unique(indices, return_inverse=True)
        return self._read(wanted.tolist())[order]

    def frames(self) -> Iterator[np.ndarray]:
        """Every frame in order, uint8 (H, W, 3) RGB, one in memory at a time."""
        if Path(self.path).is_dir():
            yield from (
                _read_pictures(self.path, [index])[0]
                for index in range(len(numbered_pictures(Path(self.path))))
            )
            return
        import av

        try:
            with av.open(self.path) as container:
                for frame in container.decode(video=0):
                    yield _upright(frame)
        except (av.FFmpegError, ValueError, IndexError) as error:
            raise VideoReadError(self.path, f"PyAV cannot decode it: {error}") from error

    def _read(self, ascending: list[int]) -> np.ndarray:
        if Path(self.path).is_dir():
            return _read_pictures(self.path, ascending)
        if _has_decord() and _seeks_are_exact(self.path):
            try:
                return _read_decord(self.path, ascending)
            except VideoReadError:
                pass  # PyAV reads some files that decord does not; frame counts are PyAV's
        return _read_pyav(self.path, ascending)


@cache
def _has_decord() -> bool:
    try:
        import decord  # noqa: F401
    except (ImportError, OSError):  # no wheel for this platform; or its libraries do not load
        return False
    return True


def _seeks_are_exact(path: str) -> bool:
    """Whether decord's jumps land on the right frame.

    They do not where the container stores no presentation times and the codec reorders frames. Measured: 30
    spread frames of each HMDB51 clip (XviD with B-frames in AVI) and of an MPEG-1 clip, 3 to 30 of them wrong;
    none wrong in JHMDB, in UCF101 or in mp4, mkv and webm files.
    """
    import av

    try:
        with av.open(path) as container:
            timeless = container.format.name in ("avi", "mpeg", "mpegts")
            return not (
                timeless
                and container.streams.video
                and container.streams.video[0].codec_context.has_b_frames
            )
    except (av.FFmpegError, ValueError) as error:
        raise VideoReadError(path, f"FFmpeg cannot open it: {error}") from error


def _read_decord(path: str, indices: list[int]) -> np.ndarray:
    import decord

    try:
        reader = decord.VideoReader(path, num_threads=1)
        if indices[-1] >= len(reader):
            raise _too_short(path, indices[-1], len(reader))
        return reader.get_batch(indices).asnumpy()
    except (RuntimeError, decord.DECORDError) as error:
        raise VideoReadError(
            path, f"decord cannot decode it: {str(error).strip().splitlines()[-1]}"
        ) from error


def _read_pyav(path: str, indices: list[int]) -> np.ndarray:
    import av

    frames, wanted, number = [], set(indices), -1
    try:
        with av.open(path) as container:
            if not container.streams.video:
                raise VideoReadError(path, "the file holds no video stream")
            for number, frame in enumerate(container.decode(video=0)):
                if number in wanted:
                    frames.append(_upright(frame))
                if number == indices[-1]:
                    return np.stack(frames)
    except (av.FFmpegError, ValueError) as error:
        raise VideoReadError(path, f"PyAV cannot decode it: {error}") from error
    raise _too_short(path, indices[-1], number + 1)


def _upright(frame) -> np.ndarray:
    """As a player shows it: telephones store how they were held. decord turns frames by itself."""
    return np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))


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
        f"frame {index} was asked for, {num_frames} decode; if the file changed, delete its manifest.csv to count again",
    )
