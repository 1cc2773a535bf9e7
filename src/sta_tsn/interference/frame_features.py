"""Features of a video's frames, one by one, by a frozen backbone; written once.

A frame's feature does not depend on its neighbours: a spliced video's features are put together
from those of its parts, and no spliced video has to be encoded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from sta_tsn.artefacts import atomic, file_fingerprint, fingerprint, read_json, write_json
from sta_tsn.errors import UserError
from sta_tsn.models.map_backbone import build_backbone
from sta_tsn.models.tsn import FrameEncoder
from sta_tsn.video import SegmentSampler, VideoReader
from sta_tsn.video.augment import center_crop


@dataclass(frozen=True)
class FramesOfVideo:
    """Which frames of a file are encoded.

    id: under which they are read. num_frames: that decode.
    """

    id: str
    path: Path
    num_frames: int
    indices: tuple[int, ...]

    @property
    def about(self) -> dict[str, str]:
        """Return what the features depend on beside the backbone; stored with them."""
        of = [self.path.stat().st_size, self.num_frames, self.indices]
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


class FrameFeatures:
    """A folder with one safetensors file per video: `features` fp16 (n, D), centre crop.

    Args:
        folder: where the files lie; it is made on first use.
        backbone: a timm name.
        weights: `imagenet`, `none` or a file, see `build_backbone`.
        device: that encodes.
    """

    def __init__(self, folder: Path, backbone: str, weights: str, device: str = "cpu"):
        self.folder = Path(folder)
        self.backbone = backbone
        self.weights = weights
        self.device = torch.device(device)

    @cached_property
    def encoder(self) -> FrameEncoder:
        """Return the network, built on first use: where everything is stored, none is needed.

        Random weights are the same ones each time: clips and footage must meet one network.
        """
        with torch.random.fork_rng():
            torch.manual_seed(0)
            cnn = build_backbone(self.backbone, self.weights, num_channels=3)
        return FrameEncoder(cnn).eval().to(self.device)

    def _open(self) -> None:
        """Refuse a folder whose features another backbone made.

        Raises:
            UserError: naming the folder and both backbones.
        """
        weights = self.weights
        if Path(weights).is_file():
            weights = file_fingerprint(weights)
        about = {"backbone": self.backbone, "weights": weights, "crop": "center"}
        old = read_json(self.folder / "features.json")
        if old and old != about:
            raise UserError(
                f"{self.folder.resolve()} holds features by {old['backbone']} ({old['weights']}), "
                f"not by {self.backbone} ({weights}). Move the folder away, or name another one."
            )
        write_json(self.folder / "features.json", about)

    def path(self, video_id: str) -> Path:
        return self.folder / f"{video_id}.safetensors"

    def write_all(self, videos: Sequence[FramesOfVideo]) -> None:
        """Encode the frames of every video that is not encoded yet.

        Raises:
            UserError: the folder holds features by another backbone.
            VideoReadError: a file cannot be decoded.
        """
        self._open()
        todo = [video for video in videos if self._metadata(video.id) != video.about]
        if not todo:
            return
        from rich.progress import track

        encoder = self.encoder
        with encoder.folded():
            for video in track(todo, "Features of frames"):
                frames = VideoReader(video.path, video.num_frames).read(video.indices)
                features = encode(encoder, frames)
                with atomic(self.path(video.id)) as temporary:
                    save_file({"features": features.half()}, temporary, video.about)

    def read(self, video_id: str) -> Tensor:
        """Return the features of the encoded frames, fp16 (n, D)."""
        return load_file(self.path(video_id))["features"]

    def _metadata(self, video_id: str) -> dict[str, str]:
        if not self.path(video_id).exists():
            return {}
        with safe_open(self.path(video_id), "pt") as file:
            return file.metadata()


@torch.no_grad()
def encode(encoder: FrameEncoder, frames: np.ndarray) -> Tensor:
    """Return the features float (n, D) of the centre crops of frames uint8 (n, H, W, 3)."""
    crops = center_crop(frames, encoder.cnn.input_px)
    images = torch.from_numpy(crops).permute(0, 3, 1, 2).contiguous()
    features, _ = encoder(images.to(encoder.cnn.mean.device))
    return features.cpu()
