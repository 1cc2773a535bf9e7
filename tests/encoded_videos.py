"""Videos in the codecs and containers that people have, written for tests."""

from fractions import Fraction

import av
import numpy as np

CODECS = {
    "h264_closed": ("libx264", {"g": "12", "bf": "3", "x264-params": "open-gop=0:scenecut=0"}),
    "h264_open": ("libx264", {"g": "12", "bf": "3", "x264-params": "open-gop=1:scenecut=0"}),
    "h264_refresh": ("libx264", {"g": "12", "x264-params": "intra-refresh=1:scenecut=0"}),
    "h264_intra": ("libx264", {"g": "1"}),
    "hevc_open": ("libx265", {"g": "12", "bf": "3", "x265-params": "open-gop=1:log-level=none"}),
    "mpeg4": ("mpeg4", {"g": "12", "bf": "0"}),
    "mpeg4_b": ("mpeg4", {"g": "12", "bf": "2"}),
    "mpeg2_b": ("mpeg2video", {"g": "12", "bf": "2"}),
    "mpeg1_b": ("mpeg1video", {"g": "12", "bf": "2"}),
    "mjpeg": ("mjpeg", {}),
    "vp9": ("libvpx-vp9", {"g": "12", "lag-in-frames": "8", "deadline": "realtime"}),
}


def add_track(container, codec: str, width: int = 64, height: int = 48):
    """Return a new track of PyAV's container, encoded as `CODECS` says."""
    encoder, options = CODECS[codec]
    track = container.add_stream(encoder, rate=25, options=options)
    track.width = width
    track.height = height
    track.pix_fmt = "yuvj420p" if encoder == "mjpeg" else "yuv420p"
    return track


def encode(container, track, pictures: dict[int, np.ndarray]) -> None:
    """Write pictures, uint8 (H, W, 3) RGB of the track's size, by time in 25ths of a second."""
    for time, picture in pictures.items():
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts = time
        frame.time_base = Fraction(1, 25)
        container.mux(track.encode(frame))
    container.mux(track.encode())
