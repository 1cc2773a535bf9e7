"""H.264 in MP4, which every browser plays, of frames at their own times and of a bounded size."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

TICKS_PER_SEC = 1000
# The player of a 10 s video takes at most 3 MB (4 MB as text in a page), of longer ones 8 MB.
MOST_BITS_PER_SEC = 2_200_000
MOST_BITS = 8 * 8_000_000
LONG_SIDE_PX = 640
KEY_FRAME_EVERY = 12  # frames: jumping to any time is quick


def shown_size(height_px: int, width_px: int, long_side_px: int = LONG_SIDE_PX) -> tuple[int, int]:
    """Return (width, height) of at most so many pixels, in proportion and even, as H.264 wants."""
    scale = min(1.0, long_side_px / max(height_px, width_px))
    width = max(2, 2 * round(scale * width_px / 2))
    height = max(2, 2 * round(scale * height_px / 2))
    return width, height


def resized(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return uint8 (H, W, 3) at (width, height)."""
    return cv2.resize(np.ascontiguousarray(picture), size, interpolation=cv2.INTER_AREA)


class ClipWriter:
    """Write pictures of one size, each at its time.

    Args:
        path: of the MP4 file.
        duration_sec: about as long as all pictures last; it bounds the bits of a second.
    """

    def __init__(self, path: Path, duration_sec: float):
        self.container = av.open(f"file:{path}", "w", format="mp4")
        self.bits_per_sec = int(min(MOST_BITS_PER_SEC, MOST_BITS / max(duration_sec, 1.0)))
        self.track = None

    def __enter__(self) -> "ClipWriter":
        return self

    def __exit__(self, *error) -> None:
        if self.track is not None and error[0] is None:
            self.container.mux(self.track.encode())
        self.container.close()

    def write(self, time_sec: float, picture: np.ndarray) -> None:
        """Add one picture, uint8 (H, W, 3) RGB, H and W even, later than the one before."""
        if self.track is None:
            self.track = self._opened(*picture.shape[:2])
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts = round(time_sec * TICKS_PER_SEC)
        frame.time_base = Fraction(1, TICKS_PER_SEC)
        self.container.mux(self.track.encode(frame))

    def _opened(self, height: int, width: int):
        options = {
            "crf": "23",
            "preset": "veryfast",
            "g": str(KEY_FRAME_EVERY),
            "maxrate": str(self.bits_per_sec),
            "bufsize": str(self.bits_per_sec),
        }
        track = self.container.add_stream("libx264", rate=TICKS_PER_SEC, options=options)
        track.height = height
        track.width = width
        track.pix_fmt = "yuv420p"
        track.codec_context.time_base = Fraction(1, TICKS_PER_SEC)
        return track
