"""What one or two networks say of a video, and where and when they look."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sta_tsn.attention.explain import Explained, center_clips
from sta_tsn.datasets import VideoRecord
from sta_tsn.errors import UserError
from sta_tsn.models import ActionOutput
from sta_tsn.prediction.checkpoints import Stream
from sta_tsn.prediction.predictor import Model, TestedFrames, local_path
from sta_tsn.video import FlowStore, VideoReader


@dataclass(frozen=True)
class ExplainedStream:
    """What one network saw and said.

    network: the system and its backbone, for people. modality: "RGB" or "flow". explained: see
    there; its alpha is (1, N, T, h, w), its beta (1, N, T), each None where there is none.
    probabilities: of all K classes by this network alone. frame_probabilities: (N, T, K) by each
    frame alone, for networks without beta, whose answer is the mean of its frames'; else None.
    """

    network: str
    modality: str
    explained: Explained
    probabilities: np.ndarray
    frame_probabilities: np.ndarray | None

    @property
    def indices(self) -> np.ndarray:
        """Return which frames were seen, (N, T)."""
        return self.explained.indices.numpy()

    @property
    def alpha(self) -> Tensor | None:
        """Return where each of them was looked at, (1, N, T, h, w)."""
        return self.explained.output.spatial_weights

    @property
    def beta(self) -> np.ndarray | None:
        """Return how much each frame counts in its segment, (N, T)."""
        weights = self.explained.output.temporal_weights
        return None if weights is None else weights[0].numpy()


@dataclass(frozen=True)
class ExplainedVideo:
    """One video, by one network or by two whose class scores are averaged.

    path: of the file. fault: what is wrong with it though frames decode. probabilities: of all K
    classes, in their order.
    """

    path: str
    fault: str
    num_frames: int
    classes: list[str]
    probabilities: np.ndarray
    streams: list[ExplainedStream]

    @property
    def name(self) -> str:
        """Return the file's name, with its ending."""
        return Path(self.path).name

    def best(self, number: int = 5) -> list[tuple[str, float]]:
        """Return the most probable classes and their probabilities, best first."""
        order = np.argsort(-self.probabilities, kind="stable")[:number]
        return [(self.classes[k], float(self.probabilities[k])) for k in order]


def explained_video(model: Model, path: str) -> ExplainedVideo:
    """Let the networks look at the centre crop of a video's test frames.

    Raises:
        UserError: the video cannot be read, or has one frame where a network sees flow; a network
            gives no finite scores.
    """
    reader = VideoReader(local_path(path))
    video = Path(reader.path)
    record = VideoRecord(video.stem, video, (), video.stem, len(reader))
    streams = [explained_stream(stream, record, model.device) for stream in model.streams]
    scores = torch.stack([stream.explained.output.scores[0] for stream in streams])
    shares = scores.mean(0).softmax(0).numpy()
    return ExplainedVideo(reader.path, reader.fault, len(reader), model.classes, shares, streams)


def explained_stream(
    stream: Stream, record: VideoRecord, device: torch.device, flow: FlowStore | None = None
) -> ExplainedStream:
    """Let one network look at the centre crop of a video's test frames.

    Args:
        stream: the network, on the device.
        record: of the video, with its number of frames.
        device: to compute on.
        flow: where the video's flow is stored; None: it is computed where the network sees flow.

    Raises:
        UserError: the video cannot be read, or has one frame where the network sees flow; the
            network gives no finite scores.
    """
    explained, frame_scores = _looked_at(stream, record, device, flow)
    own = explained.output.scores[0]
    if not own.isfinite().all():
        raise UserError(
            f"{record.path}: the network's scores are no numbers; its training diverged. Train "
            "again with a lower model.lr."
        )
    by_frame = None if frame_scores is None else frame_scores.softmax(-1).numpy()
    modality = "flow" if stream.sees_flow else "RGB"
    return ExplainedStream(
        network_name(stream), modality, explained, own.softmax(0).numpy(), by_frame
    )


@torch.no_grad()
def _looked_at(
    stream: Stream, record: VideoRecord, device: torch.device, flow: FlowStore | None
) -> tuple[Explained, Tensor | None]:
    """Return what a network saw and said, and the class scores (N, T, K) of its frames alone."""
    network = stream.task.model
    seen = center_clips(stream.task, record, flow, TestedFrames(stream))
    features, alpha = network.encoder(seen.clips.to(device))
    output = network.classify(features)
    if alpha is not None:
        output = output._replace(spatial_weights=alpha)
    parts = [None if part is None else part.float().cpu() for part in output]
    output_on_cpu = ActionOutput(*parts)
    explained = Explained(
        seen.pictures, seen.indices, output_on_cpu, seen.flow_bound_px, seen.keep_proportions
    )
    if output.temporal_weights is not None:
        return explained, None
    alone = network.classify(features.flatten(0, 2)[:, None, None]).scores
    return explained, alone.unflatten(0, tuple(seen.indices.shape)).float().cpu()


def network_name(stream: Stream) -> str:
    """Return the system and its backbone, for people."""
    task = stream.task
    encoder = task.model.encoder
    system = task.system
    if system == "TSN" and encoder.attention is not None:
        system = "TSN with spatial attention"
    return f"{system} on {encoder.cnn.name}"
