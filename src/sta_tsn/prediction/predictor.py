"""Class probabilities of any video by one checkpoint, or by two whose scores are joined."""

import math
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Literal

import torch
from torch import LongTensor, Tensor

from sta_tsn.datasets import VideoRecord
from sta_tsn.datasets.manifest import probe
from sta_tsn.errors import UserError, VideoReadError
from sta_tsn.prediction.checkpoints import Stream, load_stream
from sta_tsn.prediction.results import ClassProbability, Prediction, Segment
from sta_tsn.prediction.windows import clips_of_windows, window_frames
from sta_tsn.video import ClipDataset, SegmentSampler, VideoReader
from sta_tsn.video.flow.video_flow import stored_flow

NumCrops = Literal[1, 10]

# Folding saves half of a frame's time and costs the time of some 150.
FRAMES_WORTH_FOLDING = 150


class TestedFrames(SegmentSampler):
    """Test frames as a stream was tested on them: those encoded, or the share of them that is read.

    `FeatureStore` keeps every k-th of the encoded frames, from the middle of a step; so does this.
    """

    __test__ = False  # no test, whatever its name begins with

    def __init__(self, stream: Stream):
        super().__init__(*stream.sampled, stack_length=stream.stack_length)
        self.read = stream.read

    def __call__(self, num_frames: int, generator: torch.Generator | None = None) -> LongTensor:
        """Return the ascending indices (N, T) of the frames that are read."""
        encoded = super().__call__(num_frames, generator).flatten()
        step = len(encoded) // math.prod(self.read)
        return encoded[step // 2 :: step].view(self.read)


class Model:
    """Predicts the class of videos as testing does; see `load`.

    Args:
        streams: one network, or two of the same classes (RGB and flow, say).
    """

    def __init__(self, streams: Sequence[Stream]):
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.streams = list(streams)
        self._folded = ExitStack()  # kept, or the networks would unfold at once
        self._num_frames = 0
        for stream in self.streams:
            stream.task.model.to(self.device)
            if stream.task.classes != self.classes:
                raise UserError(
                    "the checkpoints were trained on different classes; give two of one dataset."
                )

    def fold(self) -> None:
        """Fold batch norms into convolutions, for CPUs: twice the speed, after a second or two.

        `predict` does so itself once it has looked at enough frames. Probabilities change in the
        fifth decimal place.
        """
        self._num_frames = FRAMES_WORTH_FOLDING
        if self.device.type != "cpu":
            return
        with warnings.catch_warnings():
            # Folding traces the network; torch.compile would need a C compiler.
            warnings.filterwarnings("ignore", r"`torch\.jit\..*` is deprecated")
            for stream in self.streams:
                self._folded.enter_context(stream.task.model.encoder.folded())

    @property
    def classes(self) -> list[str]:
        """Return the names of the K classes."""
        return self.streams[0].task.classes

    @property
    def notes(self) -> list[str]:
        """Return what a user should know of the checkpoints."""
        return [stream.note for stream in self.streams if stream.note]

    def predict(self, path: str | os.PathLike, top: int = 5, crops: NumCrops = 10) -> Prediction:
        """Return the class probabilities of one whole video.

        The softmax of the mean class scores of all crops and streams. With ten crops they are those
        of the run's `scores.npz` (five crops where the network learned without mirrored clips).

        Args:
            path: a video file, or a folder of numbered pictures.
            top: how many classes are named.
            crops: 10 as in testing; 1 is the centre alone, about ten times faster.

        Raises:
            VideoReadError: naming the file and the reason.
        """
        reader = VideoReader(local_path(path))
        record = _record(reader)
        scores = torch.stack([self._scores(stream, record, crops) for stream in self.streams])
        shares = scores.mean(0).softmax(0)
        return Prediction(
            reader.path, self._best(shares, top), tuple(shares.tolist()), reader.fault
        )

    def predict_windows(
        self,
        path: str | os.PathLike,
        window_sec: float,
        stride_sec: float | None = None,
        top: int = 5,
        crops: NumCrops = 10,
    ) -> Iterator[Segment]:
        """Yield what is seen in each window of a long video, which is decoded once, frame by frame.

        In memory are the crops of the frames that windows under way look at. The last window ends
        with the video.

        Args:
            path: a video file.
            window_sec: length of a window.
            stride_sec: from the start of one to that of the next; None: windows lie side by side.
            top, crops: see `predict`.

        Raises:
            VideoReadError: naming the file and the reason.
            UserError: a length that is not positive, a network of flow, a file without frame rate.
        """
        stride_sec = window_sec if stride_sec is None else stride_sec
        for name, value in (("window_sec", window_sec), ("stride_sec", stride_sec)):
            if not 0 < value < math.inf:
                raise UserError(f"{name}={value}: give seconds, more than 0.")
        if any(stream.sees_flow for stream in self.streams):
            raise UserError(
                "windows are for networks of RGB frames: the flow of each, of 300 pairs of frames, "
                "takes a CPU minutes. Cut the video into clips, and predict those."
            )
        found = _probed(local_path(path))
        fps = found["fps"]
        windows = window_frames(found["num_frames"], fps, window_sec, stride_sec)
        passes = [
            clips_of_windows(
                VideoReader(path), windows, TestedFrames(stream), stream, ten=crops == 10
            )
            for stream in self.streams
        ]
        for shown in zip(*passes, strict=True):
            scores = [
                self._scores_of_clips(stream, clips)
                for stream, (_, clips) in zip(self.streams, shown, strict=True)
            ]
            shares = torch.stack(scores).mean(0).softmax(0)
            window = shown[0][0]
            yield Segment(window.start / fps, window.end / fps, self._best(shares, top))

    def _scores(self, stream: Stream, record: VideoRecord, crops: NumCrops) -> Tensor:
        """Return the mean class scores (K,) of one video's crops."""
        return self._scores_of_clips(stream, _clips(stream, record, crops))

    @torch.no_grad()
    def _scores_of_clips(self, stream: Stream, clips: Tensor) -> Tensor:
        """Return the mean class scores (K,) of views (V, N, T, C, S, S)."""
        if self._num_frames < FRAMES_WORTH_FOLDING:
            self._num_frames += clips[:, :, :, 0, 0, 0].numel()
            if self._num_frames >= FRAMES_WORTH_FOLDING:
                self.fold()
        model = stream.task.model
        views = []
        for view in clips:
            features, _ = model.encoder(view[None].to(self.device))
            # Testing reads features from the store, which holds them in half precision.
            with _one_copy_of_weights():
                views.append(model.classify(features.half().float()).scores[0])
        return torch.stack(views).mean(0).float().cpu()

    def _best(self, shares: Tensor, top: int) -> tuple[ClassProbability, ...]:
        """Return the `top` most probable classes, one at least, the first of them first."""
        best = []
        for label in shares.argsort(descending=True).tolist()[: max(1, top)]:
            best.append(ClassProbability(self.classes[label], float(shares[label])))
        return tuple(best)


def load(*checkpoints: str | os.PathLike) -> Model:
    """Load a checkpoint of the suite, or two whose class scores are to be averaged.

    A folder that `sta-tsn publish` wrote will do as well, or hf://owner/name of the Hub.

    Example:
        model = sta_tsn.load("runs/.../temporal/checkpoints/last.ckpt")
        print(model.predict("clip.mp4").label)

    Raises:
        UserError: a file that is no checkpoint of the suite; different classes.
    """
    if not checkpoints:
        raise UserError("give the path of a checkpoint, runs/.../checkpoints/last.ckpt.")
    return Model([load_stream(checkpoint) for checkpoint in checkpoints])


def shown_clip(stream: Stream, path: str | os.PathLike) -> Tensor:
    """Return what a network sees of a video's centre, uint8 (1, N, T, C, S, S).

    Raises:
        VideoReadError: naming the file and the reason.
    """
    return _clips(stream, _record(VideoReader(local_path(path))), crops=1)


def local_path(path: str | os.PathLike) -> str:
    """Return a path as text.

    Raises:
        VideoReadError: it is a web address.
    """
    if "://" in str(path):
        raise VideoReadError(path, "a web address; download the file and give its path")
    return os.fspath(path)


def _record(reader: VideoReader) -> VideoRecord:
    video = Path(reader.path)
    return VideoRecord(video.stem, video, (), video.stem, len(reader))


def _clips(stream: Stream, record: VideoRecord, crops: NumCrops) -> Tensor:
    """Return a video's views as a network sees them, uint8 (V, N, T, C, S, S)."""
    if stream.sees_flow and record.num_frames < 2:
        raise VideoReadError(record.path, "one frame has no motion for a network of flow to see")
    sampler = TestedFrames(stream)
    with stored_flow(record, None, sampler) if stream.sees_flow else nullcontext() as flow:
        clip = ClipDataset(
            [record],
            len(stream.task.classes),
            sampler,
            "ten" if crops == 10 else "center",
            stream.task.model.input_px,
            flow=flow,
            pair_distance=stream.pair_distance,
            mirror=stream.mirror,
            keep_proportions=stream.task.keeps_proportions,
        )[0, 0]
    return clip["clips"]


@contextmanager
def _one_copy_of_weights() -> Iterator[None]:
    """Keep oneDNN from arranging an LSTM's weights anew at every call, 100 MB at the paper's width.

    It computes an LSTM in 0.8 of the time; the LSTM is a seventh of a window's.
    """
    before = torch.backends.mkldnn.enabled
    torch.backends.mkldnn.enabled = False
    try:
        yield
    finally:
        torch.backends.mkldnn.enabled = before


def _probed(path: str) -> dict:
    found = probe(path)
    if not found.get("num_frames"):
        raise VideoReadError(path, found["reason"])
    if not found.get("fps"):
        raise VideoReadError(path, "tells no frame rate, so windows in seconds cannot be laid")
    return found
