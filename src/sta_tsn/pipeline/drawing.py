"""How the attention of a study's model is drawn for its report."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sta_tsn.datasets import VideoDataset, VideoRecord

Pictures = list[tuple[str, str]]


@dataclass(frozen=True)
class Tested:
    """What there is to draw from, once the rows of a study are tested.

    Attributes:
        dataset: that was tested.
        test_videos: of the split.
        checkpoints: of the study's last row, by modality.
        scores: its score tables, by modality.
        flow: folder of the dataset's flow store.
    """

    dataset: "VideoDataset"
    test_videos: list["VideoRecord"]
    checkpoints: dict[str, Path]
    scores: dict[str, Path]
    flow: Path


Draw = Callable[[Tested, Path], Pictures]


def draw_nothing(tested: Tested, folder: Path) -> Pictures:
    """Return no pictures: the model has no attention over positions."""
    return []


def draw_sta_tsn(tested: Tested, folder: Path) -> Pictures:
    """Draw STA-TSN's attention on a few test videos; return (file name, caption) of each."""
    from sta_tsn.tasks import TemporalAttentionTSN

    return _draw_on_frames(TemporalAttentionTSN, tested, folder)


def draw_stin(tested: Tested, folder: Path) -> Pictures:
    """Draw STIN's attention on a few test videos; return (file name, caption) of each."""
    from sta_tsn.tasks import InjectionBackbone

    return _draw_on_frames(InjectionBackbone, tested, folder)


def draw_on_skeletons(tested: Tested, folder: Path) -> Pictures:
    """Draw STA-LSTM's attention on a few test sequences; return (file name, caption) of each."""
    from sta_tsn.attention.skeleton_figures import draw_skeleton_attention

    pictures: Pictures = []
    for modality, checkpoint in tested.checkpoints.items():
        pictures += draw_skeleton_attention(
            checkpoint, tested.scores[modality], tested.dataset, tested.test_videos, folder
        )
    return pictures


def _draw_on_frames(task_class: type, tested: Tested, folder: Path) -> Pictures:
    from sta_tsn.report import draw_attention
    from sta_tsn.video import FlowStore

    tasks = {}
    for modality, checkpoint in tested.checkpoints.items():
        tasks[modality] = task_class.load_from_checkpoint(
            checkpoint, map_location="cpu", weights_only=True
        )
    return draw_attention(tasks, FlowStore(tested.flow), tested.test_videos, folder)
