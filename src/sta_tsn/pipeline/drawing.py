"""How the attention of a study's model is drawn for its report."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sta_tsn.datasets import VideoDataset, VideoRecord
    from sta_tsn.report.clip_pictures import ClipPictures
    from sta_tsn.report.renderer import Picture


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

    @cached_property
    def clips(self) -> "ClipPictures":
        """Return what draws test videos as the last row's networks see them."""
        from sta_tsn.report.clip_pictures import ClipPictures
        from sta_tsn.video import FlowStore

        return ClipPictures(self.checkpoints, FlowStore(self.flow), self.test_videos)


Draw = Callable[[Tested, Path], list["Picture"]]


def draw_nothing(tested: Tested, folder: Path) -> list["Picture"]:
    """Return no pictures: the model has no attention over positions."""
    return []


def draw_on_frames(tested: Tested, folder: Path) -> list["Picture"]:
    """Draw attention on crops of a few test videos."""
    return tested.clips.of_chosen(folder)


def draw_on_skeletons(tested: Tested, folder: Path) -> list["Picture"]:
    """Draw STA-LSTM's attention on a few test sequences."""
    from sta_tsn.attention.skeleton_figures import draw_skeleton_attention
    from sta_tsn.report.renderer import Picture

    pictures = []
    for modality, checkpoint in tested.checkpoints.items():
        drawn = draw_skeleton_attention(
            checkpoint, tested.scores[modality], tested.dataset, tested.test_videos, folder
        )
        pictures += [Picture(folder / name, caption, "wide") for name, caption in drawn]
    return pictures
