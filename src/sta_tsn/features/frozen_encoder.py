"""A frozen network that looks at frames one by one: what stands before any head."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from sta_tsn.artefacts import file_fingerprint
from sta_tsn.models.map_backbone import Backbone, build_backbone
from sta_tsn.models.tsn import FRAMES_PER_CPU_PASS
from sta_tsn.video.crops import center_crop, ten_crops

Kept = Literal["pooled", "map", "both"]
TEN_CROPS = 10


class FrozenEncoder:
    """Any timm network with a map, used as it is.

    A frame's feature does not depend on its neighbours: the features of a video that is spliced of
    others are those of its parts.

    Args:
        backbone: a timm name.
        weights: `imagenet`, `none` or a file, see `build_backbone`.
        device: that encodes.
    """

    frames_per_entry = 1  # what is stored of a frame is that frame's alone

    def __init__(self, backbone: str, weights: str, device: str | torch.device = "cpu"):
        self.backbone = backbone
        self.weights = weights
        self.device = torch.device(device)
        self._folded: nn.Module | None = None

    def sampled(self, frames: tuple[int, int]) -> tuple[int, int]:
        """Return segments and frames of each that are looked at: the recipe's."""
        return frames

    @property
    def about(self) -> dict[str, str]:
        """Return what tells two encoders apart; of a file of weights, its content."""
        weights = self.weights
        if Path(weights).is_file():
            weights = file_fingerprint(weights)
        return {"backbone": self.backbone, "weights": weights}

    @cached_property
    def network(self) -> Backbone:
        """Return the network, built on first use: where everything is stored, none is needed.

        Random weights are the same ones each time: all videos must meet one network.
        """
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = build_backbone(self.backbone, self.weights, num_channels=3)
        return network.eval().requires_grad_(False).to(self.device)

    @contextmanager
    def folded(self) -> Iterator[None]:
        """On the CPU, fold batch norms into convolutions inside: twice the speed, equal to 1e-4."""
        if self.device.type == "cpu":
            self._folded = self.network.fold()
        try:
            yield
        finally:
            self._folded = None

    def entry_shapes(self, kept: Kept) -> dict[str, tuple[int, ...]]:
        """Return the shape of what `encode` keeps of one view of one frame, by name."""
        black = np.zeros((1, 32, 32, 3), np.uint8)
        encoded = self.encode(black, 1, kept)
        return {name: tensor.shape[2:] for name, tensor in encoded.items()}

    @torch.no_grad()
    def encode(
        self, frames: np.ndarray, crops: int = 1, kept: Kept = "pooled"
    ) -> dict[str, Tensor]:
        """Encode frames uint8 (n, H, W, 3), resized to TSN's 340x256 whatever their proportions.

        So the papers' datasets are shown, of which encoders and interference are studied; videos of
        one's own keep their proportions in `VideoDataModule` and `predict`, where asked for.

        Args:
            frames: of one video.
            crops: 1 for the centre crop, 10 for the ten crops of testing.
            kept: of each frame.

        Returns:
            `features` float (V, n, D), the mean of the map, and `maps` float (V, n, H, W, D), as
            `kept` says.
        """
        size_px = self.network.input_px
        views = center_crop(frames, size_px)[None]
        if crops == TEN_CROPS:
            views = ten_crops(frames, size_px)
        images = torch.from_numpy(np.ascontiguousarray(views)).flatten(0, 1).permute(0, 3, 1, 2)
        at_once = FRAMES_PER_CPU_PASS if self.device.type == "cpu" else 64
        to_maps = self._folded or self.network
        features: list[Tensor] = []
        maps: list[Tensor] = []
        for part in images.split(at_once):
            found = to_maps(part.contiguous().to(self.device)).float()
            features.append(found.mean((2, 3)).cpu())
            if kept != "pooled":
                maps.append(found.permute(0, 2, 3, 1).cpu())
        encoded = {}
        if kept != "map":
            encoded["features"] = torch.cat(features).unflatten(0, views.shape[:2])
        if kept != "pooled":
            encoded["maps"] = torch.cat(maps).unflatten(0, views.shape[:2])
        return encoded
