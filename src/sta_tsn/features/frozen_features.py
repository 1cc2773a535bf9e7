"""Features of frames by a frozen encoder, written once: no stage one has to be trained for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sta_tsn.artefacts import fingerprint, read_json, write_json
from sta_tsn.errors import UserError
from sta_tsn.features.clip_encoder import ClipEncoder
from sta_tsn.features.feature_store import STORE_FILE, FeatureStore
from sta_tsn.features.frozen_encoder import FrozenEncoder, Kept
from sta_tsn.features.tensor_files import read_about, save_tensors
from sta_tsn.video import SegmentSampler, VideoReader

NAMES_KEPT = {"pooled": ("features",), "map": ("maps",), "both": ("features", "maps")}


@dataclass(frozen=True)
class FramesOfVideo:
    """Which frames of a file are encoded.

    Attributes:
        id: under which they are read.
        path: of the file.
        num_frames: that decode.
        indices: of the frames, segment by segment.
        segments: into which they are dealt out, alike.
    """

    id: str
    path: Path
    num_frames: int
    indices: tuple[int, ...]
    segments: int = 1

    @property
    def about(self) -> dict[str, str]:
        """Return what the features depend on beside the encoder; stored with them."""
        of = [self.path.stat().st_size, self.num_frames, self.segments, self.indices]
        return {"made_of": fingerprint(of)}


def spread_evenly(frames: Sequence[int], most: int) -> tuple[int, ...]:
    """Return the frames, or where they are more than `most`, so many of them.

    Example:
        >>> spread_evenly(range(10, 20), 5)
        (11, 13, 15, 17, 19)
    """
    if len(frames) <= most:
        return tuple(frames)
    places = SegmentSampler(1, most)(len(frames)).flatten().tolist()
    return tuple(frames[place] for place in places)


class FrozenFeatures:
    """A feature store that a frozen encoder fills.

    Its `store.json` says which encoder, views and what is kept; a video's file holds `features`
    fp16 (V, N, T, D), `maps` fp16 (V, N, T, H, W, D), or both, and `frame_indices` (N, T). Of a
    clip encoder N counts clips and T time steps: `frame_spans` (N, T, 2) says the first and the
    last frame that a time step stands for, and `frame_indices` the first.

    Args:
        folder: where the files lie; it is made on first use.
        encoder: that looks at the frames.
        kept: of each frame.
        crops: views V of a frame: 1 for the centre crop, 10 for the ten of testing.
    """

    def __init__(
        self,
        folder: Path,
        encoder: FrozenEncoder | ClipEncoder,
        kept: Kept = "pooled",
        crops: int = 1,
    ):
        self.store = FeatureStore(folder)
        self.encoder = encoder
        self.kept = kept
        self.crops = crops

    @property
    def folder(self) -> Path:
        return self.store.folder

    def open(self, listing: dict | None = None) -> None:
        """Take the folder, and write down beside the encoder what else is known of its videos.

        Args:
            listing: further entries of `store.json`: classes, videos, splits.

        Raises:
            UserError: it holds features by another encoder, or other views, or less of each frame.
        """
        about = {"encoder": self.encoder.about, "crops": self.crops, "kept": self.kept}
        old = read_json(self.folder / STORE_FILE)
        for name, value in about.items():
            if old and old.get(name) != value:
                raise UserError(
                    f"{self.folder.resolve()} holds features with {name} {old.get(name)}, "
                    f"not {value}. Move the folder away, or write to another one."
                )
        new = {**old, **about, **(listing or {})}
        if new != old:
            write_json(self.folder / STORE_FILE, new)

    def missing(self, videos: Sequence[FramesOfVideo]) -> list[FramesOfVideo]:
        """Return the videos whose features are not there, or are those of other frames."""
        todo = []
        for video in videos:
            if read_about(self.store.path(video.id)) != video.about:
                todo.append(video)
        return todo

    def write(self, video: FramesOfVideo, frames: np.ndarray) -> None:
        """Encode a video's frames uint8 (n, H, W, 3) and write its file.

        Raises:
            UserError: a feature is not finite in fp16.
        """
        grid = (video.segments, -1)
        step = self.encoder.frames_per_entry
        tensors: dict[str, Tensor] = {}
        for name, tensor in self.encoder.encode(frames, self.crops, self.kept).items():
            tensors[name] = tensor.half().unflatten(1, grid)
            if not tensors[name].isfinite().all():
                raise UserError(
                    f"{video.path}: {name} by {self.encoder.backbone} are not finite in fp16; "
                    "the weights are broken, or made for another input. Take others."
                )
        spans = torch.tensor(video.indices).view(video.segments, -1, step)
        tensors["frame_indices"] = spans[..., 0]
        if step > 1:
            tensors["frame_spans"] = spans[..., [0, -1]]
        save_tensors(self.store.path(video.id), tensors, video.about)

    def write_all(self, videos: Sequence[FramesOfVideo]) -> None:
        """Encode, in this process, every video that is not encoded yet.

        Raises:
            UserError: as `open` and `write`.
            VideoReadError: a file cannot be decoded.
        """
        self.open()
        todo = self.missing(videos)
        if not todo:
            return
        from rich.progress import track

        with self.encoder.folded():
            for video in track(todo, "Features of frames"):
                self.write(video, VideoReader(video.path, video.num_frames).read(video.indices))

    def read(self, video_id: str) -> Tensor:
        """Return the pooled features of the centre crops of a video's frames, fp16 (n, D)."""
        return self.store.read(video_id)["features"][0].flatten(0, 1)
