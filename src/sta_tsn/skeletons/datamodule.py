"""From a split of skeleton sequences to padded batches with their lengths."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from sta_tsn.datasets import (
    SkeletonDataset,
    VideoRecord,
    VideoSplit,
    open_split,
)
from sta_tsn.errors import ConfigError
from sta_tsn.lightning import LightningDataModule
from sta_tsn.skeletons.augment import mirrored, normalised, swapped, turned
from sta_tsn.video import SeededSampler, multi_hot

# What a network sees of a normalised sequence (T, P, J, 3), drawn from a seed.
View = Callable[[np.ndarray, int], np.ndarray]


class SkeletonDataModule(LightningDataModule):
    """Give whole sequences; nothing is sampled.

    They are kept in memory: SBU's files are read in half a second.

    Args:
        dataset: where sequences, labels and folds come from.
        split: official fold, 1-based.
        batch_size: sequences per step (the paper's 8).
        val_share: share of each class's training sequences held out, by pair of actors, to choose
            settings.
        allow_missing: go on without sequences that are absent or damaged.
        centre: origin midway between the torsos.
        scale: unit is the sequence's mean bone length.
        smoothing_frames: width of the smoothing over time, odd; 0 for none.
        mirror: mirror each training sequence left to right with probability 1/2.
        swap_persons: put the persons of a training sequence into the other order with probability
            1/2; of one person nothing.
        turn_degrees: turn each training sequence about the vertical, by as much as this either way.
        average_views: average the scores of a test sequence's views, as ten crops of a video are:
            as it is, and what `mirror` and `swap_persons` make of it (four with both). Off, one
            view is tested, as published.
        seed: of order and augmentation.
    """

    def __init__(
        self,
        dataset: SkeletonDataset,
        split: int = 1,
        batch_size: int = 8,
        val_share: float = 0.1,
        allow_missing: bool = False,
        centre: bool = True,
        scale: bool = True,
        smoothing_frames: int = 5,
        mirror: bool = True,
        swap_persons: bool = True,
        turn_degrees: float = 0.0,
        average_views: bool = False,
        seed: int = 0,
    ):
        super().__init__()
        if smoothing_frames and (smoothing_frames < 3 or smoothing_frames % 2 == 0):
            raise ConfigError(
                f"data.smoothing_frames={smoothing_frames}: must be odd and at least 3, "
                "or 0 for no smoothing."
            )
        swap_persons = swap_persons and dataset.num_persons > 1
        if average_views and not (mirror or swap_persons):
            raise ConfigError(
                "data.average_views: there is one view only without data.mirror and "
                "data.swap_persons (of two persons)."
            )
        self.dataset = dataset
        self.split = split
        self.batch_size = batch_size
        self.val_share = val_share
        self.allow_missing = allow_missing
        self.mirror = mirror
        self.swap_persons = swap_persons
        self.turn_degrees = turn_degrees
        self.average_views = average_views
        self.seed = seed
        # To the checkpoint: needed to predict.
        self.save_hyperparameters("centre", "scale", "smoothing_frames", logger=False)
        self.videos: VideoSplit | None = None

    @property
    def classes(self) -> list[str]:
        return self.dataset.classes

    @property
    def num_joints(self) -> int:
        return self.dataset.num_persons * len(self.dataset.skeleton.joints)

    def setup(self, stage: str | None = None) -> None:
        if self.videos is None:
            self.videos = open_split(
                self.dataset,
                self.split,
                {},  # sequences are counted as they are read
                val_share=self.val_share,
                allow_missing=self.allow_missing,
            )

    @property
    def train_ids(self) -> list[str]:
        """Return the names of the training videos, in the order of a batch's indices."""
        return [record.id for record in self.videos.train]

    def train_dataloader(self) -> DataLoader:
        return self._loader(self.videos.train, self.augmented, self.batch_size, training=True)

    def val_dataloader(self) -> DataLoader:
        return self._loader(self.videos.val, lambda sequence, seed: sequence)

    def test_dataloader(self) -> DataLoader:
        return self._loader(self.videos.test, lambda sequence, seed: self.views(sequence))

    def predict_dataloader(self) -> DataLoader:
        """Return the test sequences; `index` is of `test_videos`."""
        return self.test_dataloader()

    @property
    def test_videos(self) -> list[dict]:
        return [record.entry for record in self.videos.test]

    @property
    def protocol(self) -> dict:
        views = (1 + self.mirror) * (1 + self.swap_persons) if self.average_views else 1
        return {
            "dataset": self.dataset.name,
            "split": self.split,
            "views": views,
            "missing": self.videos.num_test_missing,
        }

    def augmented(self, sequence: np.ndarray, seed: int) -> np.ndarray:
        """Draw a random view of a normalised training sequence (T, P, J, 3)."""
        mirror, swap, turn = np.random.default_rng(seed).random(3)
        if self.mirror and mirror < 0.5:
            sequence = mirrored(sequence, self.dataset.skeleton)
        if self.swap_persons and swap < 0.5:
            sequence = swapped(sequence)
        if self.turn_degrees:
            sequence = turned(sequence, (2 * turn - 1) * self.turn_degrees)
        return sequence

    def views(self, sequence: np.ndarray) -> np.ndarray:
        """Return what is scored of a normalised test sequence (T, P, J, 3): (T, V, P, J, 3).

        The first view is the sequence itself; V = 1 without `average_views`.
        """
        views = [sequence]
        if self.average_views and self.mirror:
            views += [mirrored(view, self.dataset.skeleton) for view in views]
        if self.average_views and self.swap_persons:
            views += [swapped(view) for view in views]
        return np.stack(views, 1)

    def _loader(
        self, records: list[VideoRecord], view: View, batch_size: int = 64, training: bool = False
    ) -> DataLoader:
        return DataLoader(
            SkeletonSequences(self, records, view),
            batch_size=batch_size,
            sampler=SeededSampler(len(records), self.seed, len(records) if training else None),
            collate_fn=padded_batch,
        )


class SkeletonSequences(Dataset):
    """Give items by (index, seed).

    An item has `joints` float (T, J, 3), J of all persons, in testing (T, V, J, 3); `labels` float
    (K,); `index`.

    Args:
        data: what normalises the sequences and knows the classes.
        records: the sequences.
        view: gives (T, P, J, 3), in testing (T, V, P, J, 3).
    """

    def __init__(self, data: SkeletonDataModule, records: list[VideoRecord], view: View):
        self.data = data
        self.records = records
        self.view = view
        self.sequences = [
            normalised(data.dataset.read(record.path), data.dataset.skeleton, **data.hparams)
            for record in records
        ]

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, item: tuple[int, int]) -> dict:
        index, seed = item
        joints = torch.from_numpy(self.view(self.sequences[index], seed).copy()).flatten(-3, -2)
        return {
            "joints": joints,
            "labels": multi_hot(self.records[index].labels, len(self.data.classes)),
            "index": index,
        }


def padded_batch(items: list[dict]) -> dict[str, Tensor]:
    """Collate items.

    A batch has `joints` (B, T, J, 3) or (B, T, V, J, 3), zeros after a sequence's end; `lengths`
    (B,), in frames; `labels` (B, K); `index` (B,).
    """
    return {
        "joints": pad_sequence([item["joints"] for item in items], batch_first=True),
        "lengths": torch.tensor([len(item["joints"]) for item in items]),
        "labels": torch.stack([item["labels"] for item in items]),
        "index": torch.tensor([item["index"] for item in items]),
    }
