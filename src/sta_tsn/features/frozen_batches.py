"""Batches of a frozen encoder's features, for heads; no video and no dataset is opened."""

from typing import Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sta_tsn.errors import ConfigError, UserError
from sta_tsn.features.feature_store import FeatureStore
from sta_tsn.features.stored_split import few_of_each_class, open_stored_split
from sta_tsn.lightning import LightningDataModule
from sta_tsn.video import multi_hot
from sta_tsn.video.datamodule import dealt_out

TENSOR_OF = {"pooled": "features", "map": "maps"}
VIDEOS_OF_STATISTICS = 256  # a mean over so many videos' frames is sure enough


class FrozenFeatureDataset(Dataset):
    """Items {features fp16 (V, N, T, ...), labels float (K,), index}.

    Args:
        store: to read.
        videos: of it, in order.
        tensor: `features` (D at the end) or `maps` (H, W, D).
        one_view: of each video a random view, V = 1, as in training; else all.
        keep_bytes: what is read is kept in memory while it is less than this.
    """

    def __init__(
        self,
        store: FeatureStore,
        videos: list[dict],
        tensor: str,
        one_view: bool,
        keep_bytes: int,
    ):
        self.store = store
        self.videos = videos
        self.tensor = tensor
        self.one_view = one_view
        num_classes = len(store.about["classes"])
        self.labels = [multi_hot(video["labels"], num_classes) for video in videos]
        self.num_views = store.about["crops"]
        self._room = keep_bytes
        self._kept: dict[tuple[int, int], Tensor] = {}

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, item: tuple[int, int]) -> dict:
        index, seed = item
        features = self._read(index, seed)
        return {"features": features, "labels": self.labels[index], "index": index}

    def _read(self, index: int, seed: int) -> Tensor:
        view = seed % self.num_views if self.one_view else -1
        found = self._kept.get((index, view))
        if found is not None:
            return found
        name = self.videos[index]["id"]
        if self.one_view:
            found = self.store.read_view(name, view, self.tensor)
        else:
            found = self.store.read(name)[self.tensor]
        size = found.numel() * found.element_size()
        if size <= self._room:
            self._room -= size
            self._kept[index, view] = found
        return found


class FrozenFeatureDataModule(LightningDataModule):
    """Features of a frozen encoder, split as its store says.

    Args:
        features: folder of the store.
        split: official split, 1-based.
        inputs: what heads see of a frame: its `pooled` feature, or its `map`.
        batch_size: videos per step, all where there are fewer.
        iterations_per_epoch: steps between validations: videos are drawn as one random order of all
            after another, so that few labels are learned from as long as many. None: each once.
        val_share: share of the training videos held out by source, to choose by, where the store
            names no validation videos.
        shots: so many labelled videos of each class are learned from, of as many sources as there
            are; all where None. Which ones follows from `seed`.
        frames: segments x frames of each, dealt out from the stored ones. None: as stored.
        keep_gb: features are kept in memory up to this size; what is beyond is read again.
        num_workers: processes that read, where not all is kept in memory.
        seed: of the order, of views, and of the few labelled videos.
        tested: the videos that testing scores.
    """

    def __init__(
        self,
        features: str,
        split: int = 1,
        inputs: Literal["pooled", "map"] = "pooled",
        batch_size: int = 64,
        iterations_per_epoch: int | None = 50,
        val_share: float = 0.2,
        shots: int | None = None,
        frames: tuple[int, int] | None = None,
        keep_gb: float = 2.0,
        num_workers: int = 2,
        seed: int = 0,
        tested: Literal["test", "val"] = "test",
    ):
        super().__init__()
        if batch_size < 1:
            raise ConfigError(f"data.batch_size={batch_size}: a number of videos, at least 1.")
        self.store = FeatureStore(features, frames)
        self.split = split
        self.tensor = TENSOR_OF[inputs]
        self.batch_size = batch_size
        self.iterations_per_epoch = iterations_per_epoch
        self.val_share = val_share
        self.keep_gb = keep_gb
        self.num_workers = num_workers
        self.seed = seed
        self.tested = tested
        self.about = self.store.about
        self.videos = open_stored_split(self.about, split, val_share, self.store.folder)
        self.train_videos = self.videos.train
        if shots is not None:
            self.train_videos = few_of_each_class(self.videos.train, shots, seed)
        self._check_inputs(inputs)
        self._shape = self._one_shape()

    def _check_inputs(self, inputs: str) -> None:
        kept = self.about.get("kept", "pooled")
        if kept not in (inputs, "both"):
            raise UserError(
                f"{self.store.folder.resolve()} holds the {kept} of each frame, and this head "
                f"needs its {inputs}: make the features with kept={inputs} or both."
            )

    def _one_shape(self) -> tuple[int, ...]:
        return tuple(self.store.read_view(self.train_videos[0]["id"], 0, self.tensor).shape)

    @property
    def classes(self) -> list[str]:
        return self.about["classes"]

    @property
    def frames(self) -> tuple[int, int]:
        """Segments and frames of each."""
        return self.store.frames

    @property
    def feature_dim(self) -> int:
        """Return D."""
        return self._shape[-1]

    @property
    def test_videos(self) -> list[dict]:
        return getattr(self.videos, self.tested)

    @property
    def protocol(self) -> dict:
        """Return what scores carry of the data, see `ScoreTable`."""
        about = self.about
        segments, frames = self.frames
        return {
            "crops": about["crops"],
            "segments": segments,
            "frames_per_segment": frames,
            "missing": self.videos.num_test_missing,
            "dataset": about["dataset"],
            "split": self.split,
            "encoder": about["encoder"],
            "learned_from": len(self.train_videos),
            "chosen_on": len(self.videos.val),
        }

    def state_dict(self) -> dict:
        """Return what a checkpoint keeps: which encoder's features its head has learned from.

        And how videos were shown to it, so that a checkpoint and the encoder are enough to predict.
        """
        return {
            "encoder": self.about["encoder"],
            "frames": list(self.frames),
            "stored_frames": list(self.about["frames"]),
            "weights_file": self.about.get("weights_file", ""),
        }

    def load_state_dict(self, state_dict: dict) -> None:
        """Raise UserError where a head meets features by another encoder than it learned from."""
        learned = state_dict.get("encoder")
        own = self.about["encoder"]
        if learned not in (None, own):
            raise UserError(
                f"The head learned from features by {learned}, {self.store.folder.resolve()} holds "
                f"those by {own}. Give the features that it learned from, or train anew."
            )

    def of_validation(self) -> "FrozenFeatureDataModule":
        """Return the same features, of which testing scores the validation videos."""
        twin = FrozenFeatureDataModule.__new__(FrozenFeatureDataModule)
        twin.__dict__.update(self.__dict__)
        twin.tested = "val"
        return twin

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Return mean and deviation (D,) over the frames of training videos, all or some."""
        step = max(1, len(self.train_videos) // VIDEOS_OF_STATISTICS)
        total = torch.zeros(self.feature_dim, dtype=torch.float64)
        squares = torch.zeros_like(total)
        count = 0
        for video in self.train_videos[::step]:
            frames = self.store.read_view(video["id"], 0, self.tensor).double()
            frames = frames.flatten(0, -2)
            if self.tensor == "maps":
                frames = frames.unflatten(0, (-1, self._shape[-3] * self._shape[-2])).mean(1)
            total += frames.sum(0)
            squares += frames.square().sum(0)
            count += len(frames)
        mean = total / count
        deviation = (squares / count - mean.square()).clamp(min=0).sqrt()
        return mean.float(), deviation.clamp(min=1e-6).float()

    def train_dataloader(self) -> DataLoader:
        batch_size = min(self.batch_size, len(self.train_videos))
        num_draws = len(self.train_videos)
        if self.iterations_per_epoch is not None:
            num_draws = self.iterations_per_epoch * batch_size
        return self._loader(self.train_videos, batch_size, num_draws)

    def val_dataloader(self) -> DataLoader:
        return self._loader(self.videos.val, self.batch_size)

    def test_dataloader(self) -> DataLoader:
        return self._loader(self.test_videos, 8, one_view=False)

    def predict_dataloader(self) -> DataLoader:
        """Return the tested videos; `index` is of `test_videos`."""
        return self.test_dataloader()

    def _loader(
        self,
        videos: list[dict],
        batch_size: int,
        num_draws: int | None = None,
        one_view: bool = True,
    ) -> DataLoader:
        keep_bytes = int(self.keep_gb * 1e9) if one_view else 0
        dataset = FrozenFeatureDataset(self.store, videos, self.tensor, one_view, keep_bytes)
        fits = self._size_of(len(videos)) <= keep_bytes
        num_workers = 0 if fits else self.num_workers
        return DataLoader(
            dataset,
            batch_size=batch_size,
            sampler=dealt_out(self.trainer, len(videos), self.seed, num_draws),
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def _size_of(self, num_videos: int) -> int:
        """Return the bytes of so many videos' features, all views of them."""
        each = torch.Size(self._shape).numel() * torch.half.itemsize
        return num_videos * each * self.about["crops"]
