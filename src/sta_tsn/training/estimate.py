"""How long a stage one will take on a CPU, measured on one of its videos before it starts."""

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from sta_tsn.lightning import Trainer
from sta_tsn.tasks.backbone import FrameRecognition
from sta_tsn.video import VideoDataModule

FOLDED_SHARE = 0.5  # of a pass's time that is left with batch norms folded, as testing has them
TIMED_FRAMES = 5  # as many as testing puts through the CNN together


@dataclass(frozen=True)
class Costs:
    """Seconds on this machine.

    train_video: reading a video as training sees it, and the pass forward and backward. test_video:
    reading a video's test frames in all their crops, and their features. view: of that, the
    features of one crop.
    """

    train_video: float
    test_video: float
    view: float


def say_minutes(
    trainer: Trainer, task: FrameRecognition, data: VideoDataModule, all_parts: bool
) -> None:
    """Print how long training and testing will take on a CPU.

    Nothing is said on a GPU, nor of a run without a number of epochs.

    Args:
        trainer: of the stage.
        task: as training will begin with it; its state and all random draws stay as they are.
        data: of the stage.
        all_parts: features of all videos are written, for stage two.
    """
    if trainer.strategy.root_device.type != "cpu" or not trainer.max_epochs:
        return
    data.trainer = trainer  # as trainer.fit would
    trainer.strategy.connect(task)
    data.prepare_data()
    data.setup()
    costs = measure(task, data)
    train, test = seconds(data, costs, trainer.max_epochs, all_parts)
    devices = max(1, trainer.world_size)
    print(
        f"About {_minutes(train / devices)} to train ({trainer.max_epochs} epochs of "
        f"{len(data.videos.train)} videos) and {_minutes(test / devices)} to test, by one video "
        "timed here. Ctrl-C does no harm: the same command goes on.",
        flush=True,
    )


def measure(task: FrameRecognition, data: VideoDataModule) -> Costs:
    """Return what a video costs, from one that is read and seen once in each way."""
    reading_sec, clips = _read(data, training=True)
    was_training = task.model.training
    network = task.model.eval()  # no dropout is drawn, no statistics of batches are kept
    start = time.perf_counter()
    scores = network(clips).scores
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    torch.autograd.grad(scores.sum(), trained, allow_unused=True)
    train_sec = time.perf_counter() - start
    testing_sec, views = _read(data, training=False)
    frames = views[:1].flatten(1, 2)[:, None, :TIMED_FRAMES]
    start = time.perf_counter()
    with torch.no_grad():
        network.encoder(frames)
    network.train(was_training)
    frame_sec = FOLDED_SHARE * (time.perf_counter() - start) / frames.shape[2]
    view_sec = frame_sec * views.shape[1] * views.shape[2]
    return Costs(reading_sec + train_sec, testing_sec + len(views) * view_sec, view_sec)


def _read(data: VideoDataModule, training: bool) -> tuple[float, Tensor]:
    """Return the seconds that reading a video took, and its views (V, N, T, C, S, S)."""
    videos = data.videos
    if training:
        records = videos.train
        sampler = data.sampler(data.num_segments, 1, training=True)
    else:
        records = videos.test or videos.train
        sampler = data.sampler(data.test_segments, data.test_frames_per_segment)
    clips = data.clips(records, sampler, "augment" if training else "ten")
    start = time.perf_counter()
    views = clips[0, 0]["clips"]
    return time.perf_counter() - start, views


def seconds(
    data: VideoDataModule, costs: Costs, epochs: int, all_parts: bool
) -> tuple[float, float]:
    """Return the seconds of one process for training with validation, and for testing."""
    videos = data.videos
    of_test = data.test_segments * data.test_frames_per_segment
    of_validation = data.test_segments * data.val_frames_per_segment
    validation = len(videos.val) * costs.view * of_validation / of_test
    train = epochs * (len(videos.train) * costs.train_video + validation)
    test = len(videos.test) * costs.test_video + len(videos.val) * costs.view
    if all_parts:
        views = 1 if data.train_crop == "center" else 10
        test += len(videos.train) * views * costs.view
    return train, test


def _minutes(seconds: float) -> str:
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"
