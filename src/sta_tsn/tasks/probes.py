"""The heads that are compared on frozen features, each a grid of its own (see `ProbeGrid`)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sta_tsn.models import (
    AttentiveProbe,
    FocusProbe,
    KeyFrameProbe,
    LinearProbe,
    NeighbourGrid,
)
from sta_tsn.tasks.probe import LRS, WEIGHT_DECAYS, ProbeGrid, Tally


class LinearProbing(ProbeGrid):
    """Mean of the frames, one fully connected layer. Args: see `ProbeGrid`."""

    def build_head(self) -> nn.Module:
        return LinearProbe(self.feature_dim, len(self.classes))


class AttentiveProbing(ProbeGrid):
    """One query over all frames, see `AttentiveProbe`.

    Args:
        classes: see `ProbeGrid`.
        feature_dim: see `ProbeGrid`.
        frames: see `ProbeGrid`.
        positions: whether frames are told apart by their place in the video.
        num_heads: of the attention.
        width: of queries, keys and values together.
        lrs: see `ProbeGrid`.
        weight_decays: see `ProbeGrid`.
    """

    def __init__(
        self,
        classes: list[str],
        feature_dim: int,
        frames: tuple[int, int],
        positions: bool = False,
        num_heads: int = 4,
        width: int = 64,
        lrs: Sequence[float] = LRS,
        weight_decays: Sequence[float] = WEIGHT_DECAYS,
    ):
        self.positions = positions
        self.num_heads = num_heads
        self.width = width
        super().__init__(classes, feature_dim, frames, lrs, weight_decays)
        self.takes_places = positions

    def build_head(self) -> nn.Module:
        num_frames = self.num_frames if self.positions else None
        classes = len(self.classes)
        return AttentiveProbe(self.feature_dim, classes, num_frames, self.num_heads, self.width)


class KeyFrameProbing(ProbeGrid):
    """STA-TSN's temporal attention, see `KeyFrameProbe`.

    Args:
        classes: see `ProbeGrid`.
        feature_dim: see `ProbeGrid`.
        frames: see `ProbeGrid`.
        hidden_dim: of the LSTM.
        lrs: see `ProbeGrid`.
        weight_decays: see `ProbeGrid`.
    """

    def __init__(
        self,
        classes: list[str],
        feature_dim: int,
        frames: tuple[int, int],
        hidden_dim: int = 64,
        lrs: Sequence[float] = LRS,
        weight_decays: Sequence[float] = WEIGHT_DECAYS,
    ):
        self.hidden_dim = hidden_dim
        super().__init__(classes, feature_dim, frames, lrs, weight_decays)

    def build_head(self) -> nn.Module:
        return KeyFrameProbe(self.feature_dim, len(self.classes), self.hidden_dim)


class FocusProbing(KeyFrameProbing):
    """STA-TSN's spatial and temporal attention on maps, see `FocusProbe`. Args: as its parent."""

    def build_head(self) -> nn.Module:
        return FocusProbe(self.feature_dim, len(self.classes), self.hidden_dim)


class NeighbourProbing(ProbeGrid):
    """Nearest neighbours, see `NeighbourGrid`: the grid is over their number.

    Args:
        classes: see `ProbeGrid`.
        feature_dim: see `ProbeGrid`.
        frames: see `ProbeGrid`.
        neighbours: numbers of them to choose from.
    """

    def __init__(
        self,
        classes: list[str],
        feature_dim: int,
        frames: tuple[int, int],
        neighbours: Sequence[int] = (1, 3, 5, 10, 20, 50),
    ):
        self.neighbours = tuple(neighbours)
        super().__init__(classes, feature_dim, frames)
        self.settings = list(self.neighbours)
        self._keep_results(Tally(len(self.settings)))
        # Lightning counts steps of optimisers, and writes checkpoints at new steps alone.
        self.steps = nn.Parameter(torch.zeros(()))
        self.automatic_optimization = False

    def build_grid(self) -> nn.Module:
        return NeighbourGrid(self.neighbours, self.feature_dim, len(self.classes))

    @property
    def choice(self) -> dict:
        return {"neighbours": self.settings[int(self.model.chosen)], "grid": self.grid_results}

    @property
    def grid_results(self) -> list[dict]:
        lines = []
        for number, accuracy in zip(self.settings, self.val_accuracies.tolist(), strict=True):
            lines.append({"neighbours": number, "val accuracy %": round(100 * accuracy, 2)})
        return lines

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self.model.forget()

    def training_step(self, batch: dict) -> Tensor:
        self.model.remember(batch["features"].squeeze(1).float(), batch["labels"])
        self.steps.grad = torch.zeros_like(self.steps)
        self.optimizers().step()
        return self.steps.detach()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([self.steps], lr=0.0)
