"""Fig 6 for a few test videos drawn at random, scored from the checkpoint alone."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sta_tsn.datasets import VideoRecord
from sta_tsn.video import FlowStore

if TYPE_CHECKING:
    from sta_tsn.tasks import ActionRecognition

NUM_EXPLAINED = 4


def draw_attention(
    tasks: dict[str, "ActionRecognition"],
    flow: FlowStore,
    test_videos: list[VideoRecord],
    folder: Path,
) -> list[tuple[str, str]]:
    """Draw each modality's network at work; return (file name, caption) of each picture."""
    figures = []
    for modality, task in tasks.items():
        figures += _draw_attention(modality, task, flow, test_videos, folder)
    return figures


def _draw_attention(
    modality: str,
    task: "ActionRecognition",
    flow: FlowStore,
    test_videos: list[VideoRecord],
    folder: Path,
) -> list[tuple[str, str]]:
    from sta_tsn.attention.explain import attention_figure, explain_video

    if modality == "flow":
        test_videos = [record for record in test_videos if record.num_frames > 1]
    chosen = np.random.default_rng(0).permutation(len(test_videos))[:NUM_EXPLAINED]
    figures = []
    for number, index in enumerate(sorted(chosen), 1):
        record = test_videos[index]
        stored = flow if modality == "flow" else None
        explained = explain_video(task, record, stored)
        said = task.classes[int(explained.output.scores.argmax())]
        answer = describe_answer([task.classes[label] for label in record.labels], said)
        name = f"attention_{modality}_{number}.png"
        attention_figure(explained, f"{record.id}: {answer}", folder / name)
        caption = (
            f"Where and when the network looked, {modality}: {record.id}, {answer}. Crops, "
            "attention laid over them, frame numbers (STA-TSN's Fig 6)"
        )
        figures.append((name, caption))
    return figures


def describe_answer(true: list[str], said: str) -> str:
    """Return what a video shows and what it was taken for.

    Args:
        true: names of the video's classes; none for background.
        said: name of the predicted class.

    Example:
        >>> describe_answer(["golf"], "golf"), describe_answer(["golf"], "run")
        ('golf, recognised', 'golf, taken for run')
    """
    shown = " and ".join(true) or "no class (background)"
    if said in true:
        return f"{shown}, recognised"
    return f"{shown}, taken for {said}"
