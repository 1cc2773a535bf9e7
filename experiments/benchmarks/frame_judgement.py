"""Measure what the frame classifiers (Eq 13) say where a set is too large to fit all of its frames.

    python experiments/benchmarks/frame_judgement.py [VIDEOS=50100]

Simulated videos of 30 frames with the action in the middle third; the other frames look alike in
all classes. Judged true should be every action frame, and of the others what chance leaves. Above
50,000 videos one frame of each is fitted: the first (as it was until November 2026), or one from
anywhere in the video. The last row fits every frame of a tenth of the videos. A minute on one core.

50,100 videos, share judged true of action frames and of others: the first frame 0.42 and 0.50
(worse than a coin), one from anywhere 1.00 and 0.47, all frames 1.00 and 0.47.
"""

import sys
from collections.abc import Sequence

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from sta_tsn.features import frame_judgement

NUM_CLASSES = 5
NUM_FRAMES = 30
FEATURE_DIM = 8


def simulated(num_videos: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return features (V, 1, T, D), labels (V, K), and which frames show the action, bool (T,)."""
    generator = torch.Generator().manual_seed(0)
    classes = torch.arange(num_videos) % NUM_CLASSES
    action = torch.zeros(NUM_FRAMES, dtype=torch.bool)
    action[NUM_FRAMES // 3 : 2 * NUM_FRAMES // 3] = True
    features = torch.randn(num_videos, 1, NUM_FRAMES, FEATURE_DIM, generator=generator) / 2
    features[:, :, ~action, 0] += 2
    shown = torch.nn.functional.one_hot(classes, FEATURE_DIM - 1)
    features[:, :, action, 1:] += 3 * shown[:, None, None]
    return features, torch.nn.functional.one_hot(classes, NUM_CLASSES), action


def first_frames(features: Sequence[Tensor], count: int) -> tuple[Tensor, Tensor]:
    """Return what was fitted before: evenly spaced places from the first frame on."""
    each = max(1, count // len(features))
    places = torch.linspace(0, NUM_FRAMES - 1, each).round().long()
    sample = torch.cat([one.flatten(0, 1)[places] for one in features])
    return sample, torch.arange(len(features)).repeat_interleave(each)


def shares(num_videos: int, max_fitted: int) -> tuple[float, float]:
    """Return the shares judged true of action frames and of the others."""
    features, labels, action = simulated(num_videos)
    groups = [str(number) for number in range(num_videos)]
    judged = frame_judgement.judge_frames(features, labels, groups, max_fitted)
    return float(judged[..., action].float().mean()), float(judged[..., ~action].float().mean())


def main() -> None:
    """Print the three rows."""
    num_videos = int(sys.argv[1]) if len(sys.argv) > 1 else 50_100
    limit = frame_judgement.MAX_FITTED_FRAMES
    rows = {"one anywhere": shares(num_videos, limit)}
    rows["all frames, a tenth of the videos"] = shares(num_videos // 10, NUM_FRAMES * num_videos)
    frame_judgement.sampled_frames = first_frames
    rows["the first"] = shares(num_videos, limit)
    printed = Table("fitted of each video", "action frames judged true", "others judged true")
    for name, (of_action, of_others) in rows.items():
        printed.add_row(name, f"{of_action:.2f}", f"{of_others:.2f}")
    Console().print(printed)


if __name__ == "__main__":
    main()
