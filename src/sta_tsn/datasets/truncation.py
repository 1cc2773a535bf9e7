"""Whether a video file was cut off: decoders are silent about a missing end."""

from collections.abc import Callable
from pathlib import Path

from sta_tsn.datasets.decoding import open_video

# Containers whose duration is exact: AVI's and MPEG's are guesses.
EXACT_DURATION_FORMATS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "flv")
UNKNOWN_SIZE = 0xFFFFFFFF  # written by whoever could not go back to the header, into a pipe
TRANSPORT_PACKETS = (188, 192, 204)  # bytes: plain, with a time stamp (m2ts), with a check code


def bytes_missing(path: str, kind: str) -> int:
    """Return how many bytes the file is shorter than its structure says; 0 where that is unknown.

    Args:
        path: an existing file.
        kind: FFmpeg's name of its container.
    """
    size = Path(path).stat().st_size
    measures: dict[str, Callable] = {
        "avi": _end_of_riff,
        "mpegts": _end_of_transport_stream,
        "mpeg": _end_of_program_stream,
        "flv": _end_of_flv,
    }
    if kind not in measures:
        return 0
    with open(path, "rb") as file:
        return max(0, measures[kind](file, size) - size)


def ends_before_its_duration(container, track, num_frames: int, last_time: int | None) -> bool:
    """Return whether frames and times both stop clearly before the duration that is declared.

    Frames alone say nothing: files of a variable rate have fewer than duration times rate. The
    sound may go on after the last picture: where no duration of the track's own is declared, the
    last packet of any track counts.

    Args:
        container: of the file; only asked, not read.
        track: the video track.
        num_frames: frames that decode.
        last_time: presentation time of the last one, in the track's unit; None: not stored.
    """
    rate = float(track.average_rate or 0)
    if container.format.name not in EXACT_DURATION_FORMATS or not rate or last_time is None:
        return False
    own_sec = float(track.duration * track.time_base) if track.duration else 0.0
    duration_sec = own_sec or (container.duration or 0) / 1e6
    end_sec = float((last_time - (track.start_time or 0)) * track.time_base)

    def early(sec: float) -> bool:
        return sec < 0.9 * duration_sec - 2 / rate

    if num_frames >= 0.9 * duration_sec * rate - 2 or not early(end_sec):
        return False
    return bool(own_sec) or len(container.streams) == 1 or early(_last_packet_sec(container.name))


def _last_packet_sec(name: str) -> float:
    last_sec = 0.0
    with open_video(name.removeprefix("file:")) as container:
        start_sec = (container.start_time or 0) / 1e6
        for packet in container.demux():
            if packet.pts is not None:
                last_sec = max(last_sec, float(packet.pts * packet.time_base) - start_sec)
    return last_sec


def _end_of_riff(file, size: int) -> int:
    head = file.read(12)
    declared = int.from_bytes(head[4:8], "little")
    if head[:4] != b"RIFF" or head[8:] != b"AVI " or declared == UNKNOWN_SIZE:
        return 0
    return declared + 8


def _end_of_transport_stream(file, size: int) -> int:
    """Return where the last packet would end; 0 where the size of a packet isn't plain."""
    head = file.read(5 * max(TRANSPORT_PACKETS))
    for length in TRANSPORT_PACKETS:
        offset = 4 if length == 192 else 0
        if len(head) > offset + 4 * length and all(
            head[offset + number * length] == 0x47 for number in range(5)
        ):
            return -(-size // length) * length
    return 0


def _end_of_program_stream(file, size: int) -> int:
    """Walk over the packets; 0 where something else than a packet stands between them."""
    position = 0
    while position < size:
        file.seek(position)
        head = file.read(14)
        if head[:4] == b"\x00\x00\x01\xb9":
            return 0  # the end code: whole
        if len(head) < 6:
            return position + 6
        if head[:3] != b"\x00\x00\x01" or head[3] < 0xB9:
            return 0
        if head[3] != 0xBA:
            position += 6 + int.from_bytes(head[4:6], "big")
        elif head[4] >> 6 == 1:  # MPEG-2's, with stuffing
            position += 14 + (head[13] & 7 if len(head) == 14 else 0)
        else:
            position += 12
    return position


def _end_of_flv(file, size: int) -> int:
    """Walk over the tags: 11 bytes, what they hold, and 4 bytes of its length."""
    position = int.from_bytes(file.read(9)[5:9], "big") + 4
    while position < size:
        file.seek(position)
        head = file.read(11)
        if len(head) < 11:
            return position + 15
        if head[0] & 0x1F not in (8, 9, 18):
            return 0
        position += 15 + int.from_bytes(head[1:4], "big")
    return position
