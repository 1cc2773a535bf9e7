"""What somebody must know to feed a network without this suite, and to read its answers."""

from sta_tsn.artefacts import provenance
from sta_tsn.prediction.checkpoints import Stream
from sta_tsn.video.crops import CROP_PX, FRAME_HEIGHT_PX, FRAME_WIDTH_PX, SHORT_SIDE_PX
from sta_tsn.video.flow.flow_files import BOUND_PX
from sta_tsn.video.flow.flow_store import FLOW_STACK

INPUT = "clips"
INPUT_AXES = ("video", "segment", "frame", "channel", "y", "x")
OUTPUTS = {
    "scores": "(video, class), before the softmax",
    "alpha": "spatial attention (video, segment, frame, y, x); sums to 1 over each frame",
    "beta": "temporal attention (video, segment, frame); sums to 1 over each segment",
}


def describe(stream: Stream) -> dict:
    """Return classes, input, preprocessing and outputs of a network, as JSON can hold them."""
    model = stream.task.model
    num_segments, frames_per_segment = stream.read
    channels = model.encoder.cnn.num_channels
    if stream.pair_distance:
        channels *= 2
    return {
        "system": stream.task.system,
        "backbone": model.encoder.cnn.name,
        "classes": list(stream.task.classes),
        "input": {
            "name": INPUT,
            "dtype": "uint8",
            "axes": list(INPUT_AXES),
            "shape": [
                "batch",
                num_segments,
                frames_per_segment,
                channels,
                model.input_px,
                model.input_px,
            ],
            "channels": _channels(stream),
        },
        "preprocessing": _preprocessing(stream),
        "made_by": provenance(),
    }


def _channels(stream: Stream) -> str:
    if stream.sees_flow:
        return (
            f"x and y of the TV-L1 flow of {FLOW_STACK} pairs of neighbouring frames; "
            f"-{BOUND_PX:g} to {BOUND_PX:g} px are 0 to 255"
        )
    if stream.pair_distance:
        return f"R, G, B of a frame, then of the one {stream.pair_distance} frames later"
    return "R, G, B"


def _resize(stream: Stream) -> str:
    if stream.task.keeps_proportions:
        return f"the short side to {SHORT_SIDE_PX} pixels, proportions kept"
    return f"to {FRAME_WIDTH_PX}x{FRAME_HEIGHT_PX} pixels, whatever the video's proportions (TSN)"


def _preprocessing(stream: Stream) -> dict:
    segments, frames = stream.sampled
    which = (
        f"the video is cut into {segments} x {frames} equal bins, and the middle frame of each is "
        "taken"
    )
    if stream.read != stream.sampled:
        step = segments * frames // (stream.read[0] * stream.read[1])
        which += f"; of these every {step}th, from the middle of the first {step} on"
    return {
        "frames": which,
        "resize": _resize(stream),
        "crop": f"the middle {CROP_PX}x{CROP_PX}, resized to the input's size",
        "values": "0 to 255; the network normalises them itself",
        "ten_crops": (
            "testing averages the scores of the centre and the four corners"
            + (", and of the mirrored five" if stream.mirror else "")
        ),
    }
