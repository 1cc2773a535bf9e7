"""Stored features as batches for stage two and for testing; no video is opened, no CNN is run."""

from typing import Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sta_tsn.errors import ConfigError
from sta_tsn.features.feature_store import FeatureStore
from sta_tsn.features.frame_judgement import judge_videos, read_judgement
from sta_tsn.lightning import LightningDataModule
from sta_tsn.video import multi_hot
from sta_tsn.video.datamodule import dealt_out, share_of_device, uneven_share
from sta_tsn.video.workers import workers_with_room


class FeatureDataset(Dataset):
    """Give the features of a store's videos by (index, seed).

    An item has `features` fp16 (V, N, T, D), `labels` float (K,) and `index`; of training videos
    (those with `relevant`) a random one of the views, V = 1, and `relevant` bool (N, T).

    Args:
        store: of the features.
        part: train, val or test.
        relevant: which frames of each video are judged true; None where that is not asked.
    """

    def __init__(self, store: FeatureStore, part: str, relevant: Tensor | None = None):
        about = store.about
        self.store = store
        self.videos = about["videos"][part]
        self.num_classes = len(about["classes"])
        self.relevant = relevant

    def __len__(self) -> int:
        return len(self.videos)

    @property
    def video_bytes(self) -> int:
        """Return the bytes of a video's item: one view where frames are judged, else all."""
        if not self.videos:
            return 0
        stored = self.store.read(self.videos[0]["id"])["features"]
        return (stored if self.relevant is None else stored[0]).nbytes

    def __getitem__(self, item: tuple[int, int]) -> dict:
        index, seed = item
        video = self.videos[index]
        sample = {"labels": multi_hot(video["labels"], self.num_classes), "index": index}
        if self.relevant is None:
            return {**sample, "features": self.store.read(video["id"])["features"]}
        return {
            **sample,
            "features": self.store.read_view(video["id"], seed),
            "relevant": self.relevant[index],
        }


class FeatureDataModule(LightningDataModule):
    """Give the features of one backbone run.

    Args:
        features: folder of the feature store.
        batch_size: videos per iteration, over all devices together (the paper's 128).
        iterations_per_epoch: between validations and checkpoints; the paper counts iterations, not
            epochs.
        max_passes_per_epoch: an epoch shows no video more often than this; it shortens the schedule
            where a dataset is there in part only. None: no bound.
        num_workers: processes that read, per device.
        seed: of the order.
        tested: the videos that testing scores.
        frames: segments x frames of each, dealt out from the stored ones: [1, 30] and [3, 5] of the
            paper's 3 x 10. None: as stored.
        judged_by: folder of features of the same frames by an encoder that did not learn the
            videos (`make features`); they tell which frames show the action (Eq 13) in place of
            those of `features`, whose backbone did. None: the latter.

    Raises:
        ConfigError: a number of videos or of frames below 1.
    """

    def __init__(
        self,
        features: str,
        batch_size: int = 128,
        iterations_per_epoch: int = 500,
        max_passes_per_epoch: int | None = None,
        num_workers: int = 2,
        seed: int = 0,
        tested: Literal["test", "val"] = "test",
        frames: tuple[int, int] | None = None,
        judged_by: str | None = None,
    ):
        super().__init__()
        if batch_size < 1:
            raise ConfigError(f"data.batch_size={batch_size}: a number of videos, at least 1.")
        if frames and min(frames) < 1:
            raise ConfigError(f"data.frames={list(frames)}: segments x frames of each, at least 1.")
        self.store = FeatureStore(features, frames)
        self.batch_size = batch_size
        self.iterations_per_epoch = iterations_per_epoch
        self.max_passes_per_epoch = max_passes_per_epoch
        self.num_workers = num_workers
        self.seed = seed
        self.tested = tested
        self.judge = FeatureStore(judged_by) if judged_by else None
        self._said: set[str] = set()

    @property
    def classes(self) -> list[str]:
        return self.store.about["classes"]

    @property
    def frames(self) -> tuple[int, int]:
        """Return the number of segments, and of frames of each."""
        return self.store.frames

    @property
    def train_ids(self) -> list[str]:
        """Return the names of the training videos, in the order of a batch's indices."""
        return [video["id"] for video in self.store.about["videos"]["train"]]

    @property
    def test_videos(self) -> list[dict]:
        return self.store.about["videos"][self.tested]

    @property
    def protocol(self) -> dict:
        about = self.store.about
        crops, segments, frames, _ = self.store.read(self.test_videos[0]["id"])["features"].shape
        missing = about["num_test_missing"]
        shown = {
            "crops": crops,
            "segments": segments,
            "frames_per_segment": frames,
            "missing": missing,
        }
        return {**shown, "dataset": about["dataset"], "split": about["split"]}

    def of_validation(self) -> "FeatureDataModule":
        """Return the same features, of which testing scores the validation videos."""
        return FeatureDataModule(
            str(self.store.folder), num_workers=self.num_workers, tested="val", frames=self.frames
        )

    def state_dict(self) -> dict:
        """Return what a checkpoint keeps: how stage one was shown its videos, for `predict`."""
        about = self.store.about
        kept = ("frames", "flow", "mirror", "keep_proportions")
        return {key: about[key] for key in kept if key in about}

    def prepare_data(self) -> None:
        if self.judge is not None:
            as_stored = FeatureStore(self.store.folder)
            judge_videos(as_stored, torch.device("cpu"), self.judge)

    def train_dataloader(self) -> DataLoader:
        relevant = read_judgement(self.store, self.judge)
        dataset = FeatureDataset(self.store, "train", relevant)
        batch_size = min(self.batch_size, len(dataset))
        trainer = self.trainer
        note = uneven_share(batch_size, trainer.world_size) if trainer else ""
        if note and trainer.is_global_zero:
            print(note, flush=True)
        passes = self.max_passes_per_epoch
        num_draws = self.iterations_per_epoch * batch_size
        return self._loader(
            dataset,
            num_draws if passes is None else min(num_draws, passes * len(dataset)),
            batch_size,
        )

    def val_dataloader(self) -> DataLoader:
        return self._loader(FeatureDataset(self.store, "val"))

    def test_dataloader(self) -> DataLoader:
        return self._loader(FeatureDataset(self.store, self.tested), batch_size=8)

    def predict_dataloader(self) -> DataLoader:
        """Return the tested videos; `index` is of `test_videos`."""
        return self.test_dataloader()

    def _loader(
        self, dataset: FeatureDataset, num_draws: int | None = None, batch_size: int = 128
    ) -> DataLoader:
        trainer = self.trainer
        of_device = share_of_device(batch_size, trainer.world_size if trainer else 1)
        num_workers = workers_with_room(
            self.num_workers,
            of_device * dataset.video_bytes,
            trainer.num_devices if trainer else 1,
            self._say_once,
        )
        return DataLoader(
            dataset,
            batch_size=of_device,
            sampler=dealt_out(trainer, len(dataset), self.seed, num_draws),
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def _say_once(self, text: str) -> None:
        if text not in self._said and (self.trainer is None or self.trainer.is_global_zero):
            self._said.add(text)
            print(text, flush=True)
