"""The feature store: what the frozen backbone says of every video.

It is written once, and read by all that follows.
"""

import math
import os
import shutil
from functools import cached_property
from pathlib import Path

import torch

from sta_tsn.artefacts import read_json, write_json
from sta_tsn.datasets import VideoSplit
from sta_tsn.errors import ConfigError, UserError
from sta_tsn.features.tensor_files import load_entry, load_tensors, save_tensors

PARTS = ("train", "val", "test")
STORE_FILE = "store.json"
OF_FRAMES = ("frame_indices", "frame_spans")  # the tensors without a view in front


class FeatureStore:
    """Keep a folder with one safetensors file per video, and `store.json`.

    The latter says what made it, and which videos belong to it. A video's file holds `features`
    fp16 (V, N, T, D), `frame_indices` (N, T) and, where the backbone has attention,
    `spatial_weights` fp16 (V, N, T, H, W). V is 1 (centre crop) for validation videos, 10 for test
    videos (view 0 is the centre), either for training videos. JHMDB, MobileNetV2: 77 kB a training
    video, 0.8 MB a test video.

    Args:
        folder: of one backbone run.
        frames: segments x frames of each as which the stored ones are read; where that is fewer,
            every k-th of them, from the middle of a step (the later one of two middles). None: as
            they are stored.
    """

    def __init__(self, folder: str | os.PathLike, frames: tuple[int, int] | None = None):
        self.folder = Path(folder)
        self._frames = frames

    @property
    def about(self) -> dict:
        """Return what `store.json` holds.

        Raises:
            UserError: there is no store.
        """
        about = read_json(self.folder / STORE_FILE)
        if not about:
            raise UserError(
                f"No feature store in {self.folder.resolve()}: train stage one first (make train)."
            )
        return about

    def open_for_writing(
        self, source: dict, classes: list[str], videos: VideoSplit, parts: tuple[str, ...]
    ) -> None:
        """Keep what is there when it was made by the same checkpoint and videos; else start anew.

        Args:
            source: what tells one checkpoint and its data from another.
            classes: their names.
            videos: the split.
            parts: of train, val and test.
        """
        listing = {part: [record.entry for record in getattr(videos, part)] for part in parts}
        about = {
            **source,
            "classes": classes,
            "num_test_missing": videos.num_test_missing,
            "videos": listing,
        }
        old = read_json(self.folder / STORE_FILE)
        if old and old != about:
            print(
                f"{self.folder}: made by another checkpoint or other videos, computed anew",
                flush=True,
            )
            shutil.rmtree(self.folder)
        write_json(self.folder / STORE_FILE, about)

    @cached_property
    def frames(self) -> tuple[int, int]:
        """Return segments N and frames T of each, as they are read.

        Raises:
            ConfigError: they do not divide the stored ones.
        """
        stored = tuple(self.about["frames"])
        frames = tuple(self._frames or stored)
        num_stored = math.prod(stored)
        if num_stored % math.prod(frames):
            raise ConfigError(
                f"data.frames={list(frames)}: {math.prod(frames)} do not divide the {num_stored} "
                f"frames of a video in {self.folder}; [1, {num_stored}] does."
            )
        return frames

    def path(self, video_id: str) -> Path:
        return self.folder / f"{video_id}.safetensors"

    def write(self, video_id: str, **tensors: torch.Tensor) -> None:
        """Write the tensors of one video (see the class)."""
        save_tensors(self.path(video_id), tensors)

    def read(self, video_id: str) -> dict[str, torch.Tensor]:
        """Return all tensors of the video (see the class)."""
        tensors = load_tensors(self._present(video_id), self.remedy)
        return {
            name: self.regrouped(tensor, axis=0 if name in OF_FRAMES else 1)
            for name, tensor in tensors.items()
        }

    def read_view(self, video_id: str, draw: int, name: str = "features") -> torch.Tensor:
        """Return features (1, N, T, D) of view `draw` modulo V, without reading the others.

        Args:
            video_id: of the store.
            draw: any number.
            name: of the tensor, `maps` (1, N, T, H, W, D) of frozen encoders that kept them.
        """
        view = load_entry(self._present(video_id), name, draw, self.remedy)
        return self.regrouped(view, axis=1)

    def regrouped(self, stored: torch.Tensor, axis: int) -> torch.Tensor:
        """Return (..., N, T, ...) as stored, N on `axis`, with N and T of `frames`."""
        if self._frames is None or stored.shape[axis : axis + 2] == self.frames:
            return stored
        together = stored.flatten(axis, axis + 1)
        num_stored = together.shape[axis]
        step = num_stored // math.prod(self.frames)
        places = torch.arange(step // 2, num_stored, step)
        chosen = together.index_select(axis, places)
        return chosen.unflatten(axis, self.frames)

    @property
    def remedy(self) -> str:
        """Return what the user of a damaged file is told to do."""
        return f"Delete it, then {self._command} computes it anew."

    @cached_property
    def _command(self) -> str:
        if "encoder" in self.about:
            return "the command that made the store"
        return f"`sta-tsn features {self.folder.parent}`"

    def _present(self, video_id: str) -> Path:
        path = self.path(video_id)
        if not path.exists():
            raise UserError(
                f"{path} is missing: the features are incomplete. "
                f"{self._command[0].upper()}{self._command[1:]} computes what is missing."
            )
        return path
