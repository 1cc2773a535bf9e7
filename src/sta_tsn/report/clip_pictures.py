"""Test videos in a report: the strongest crops at their full size, and the frames in seconds."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sta_tsn.datasets import VideoRecord
from sta_tsn.report.renderer import Picture
from sta_tsn.video import FlowStore

if TYPE_CHECKING:
    from sta_tsn.explanation.explained_video import ExplainedStream
    from sta_tsn.prediction.predictor import Model

NUM_CHOSEN = 4


class ClipPictures:
    """Draw test videos as a run's networks see them; a network is loaded when it is needed.

    Args:
        checkpoints: of the networks, by modality.
        flow: where the videos' flow is stored.
        videos: all that were tested.
    """

    def __init__(self, checkpoints: dict[str, Path], flow: FlowStore, videos: list[VideoRecord]):
        self.checkpoints = checkpoints
        self.flow = flow
        self.videos = videos
        self.networks: dict[str, Model] = {}

    def of_chosen(self, folder: Path) -> list[Picture]:
        """Draw a few videos, drawn at random, by each network that has attention."""
        pictures = []
        for modality in self.checkpoints:
            videos = self._visible_in(modality)
            chosen = np.random.default_rng(0).permutation(len(videos))[:NUM_CHOSEN]
            for number, index in enumerate(sorted(chosen), 1):
                record = videos[index]
                stream = self._explained(modality, record)
                if stream.alpha is None and stream.beta is None:
                    break
                path = folder / f"attention_{modality}_{number}.jpg"
                answer = self._answer(modality, record, stream)
                said = self._draw(record, stream, path)
                caption = f"{record.id} ({modality}): {answer}. {said}"
                pictures.append(Picture(path, caption, "wide"))
        return pictures

    def of_ids(self, ids: list[str], folder: Path) -> dict[str, Picture]:
        """Draw these videos by the first network, the strongest moment of each; by id."""
        modality = next(iter(self.checkpoints))
        records = {record.id: record for record in self._visible_in(modality)}
        pictures = {}
        for number, video in enumerate(ids, 1):
            if video not in records:
                continue
            stream = self._explained(modality, records[video])
            path = folder / f"wrong_{number}.jpg"
            said = self._draw(records[video], stream, path, num_moments=1)
            pictures[video] = Picture(path, said, "tile")
        return pictures

    def _visible_in(self, modality: str) -> list[VideoRecord]:
        if modality != "flow":
            return self.videos
        return [record for record in self.videos if record.num_frames > 1]

    def _network(self, modality: str) -> "Model":
        from sta_tsn.prediction.predictor import load

        if modality not in self.networks:
            self.networks[modality] = load(self.checkpoints[modality])
        return self.networks[modality]

    def _explained(self, modality: str, record: VideoRecord) -> "ExplainedStream":
        from sta_tsn.explanation.explained_video import explained_stream

        network = self._network(modality)
        stored = self.flow if modality == "flow" else None
        return explained_stream(network.streams[0], record, network.device, stored)

    def _answer(self, modality: str, record: VideoRecord, stream: "ExplainedStream") -> str:
        classes = self._network(modality).classes
        true = [classes[label] for label in record.labels]
        return describe_answer(true, classes[int(stream.probabilities.argmax())])

    def _draw(
        self, record: VideoRecord, stream: "ExplainedStream", path: Path, num_moments: int = 3
    ) -> str:
        """Write the picture, and return what is seen in it."""
        from sta_tsn.explanation.bars import bars_of
        from sta_tsn.explanation.clip_figure import draw_clip
        from sta_tsn.explanation.sentences import when_sentence, where_sentence
        from sta_tsn.video.timed_frames import duration_sec, frame_times

        times_sec = frame_times(record.path)
        lasts_sec = duration_sec(times_sec)
        answer = int(stream.probabilities.argmax())
        bars = bars_of(stream, times_sec, lasts_sec, answer)
        draw_clip(stream, bars, lasts_sec, path, num_moments)
        return f"{when_sentence(stream, times_sec, answer)} {where_sentence(stream)}"


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
