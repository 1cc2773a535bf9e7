"""The trained backbone over whole videos, into the store; an interrupted run goes on."""

from contextlib import nullcontext

import torch
from torch import nn

from sta_tsn.datasets import VideoRecord
from sta_tsn.errors import UserError
from sta_tsn.features.feature_store import FeatureStore
from sta_tsn.features.frame_judgement import judge_videos
from sta_tsn.lightning import Callback, LightningModule, Trainer
from sta_tsn.tasks import SpatialAttentionBackbone
from sta_tsn.video import VideoDataModule


def extract_features(
    trainer: Trainer,
    task: SpatialAttentionBackbone,
    data: VideoDataModule,
    store: FeatureStore,
    made_by: str,
    parts: tuple[str, ...],
) -> None:
    """Write the features of `parts` of the split that are not there yet.

    Of test videos that is ten crops (five without `data.mirror`), of validation videos the centre
    crop, of training videos what `data` says. With `train` among the parts the frames are judged
    too (see `judge_videos`).

    Args:
        trainer: whose devices work.
        task: with the trained backbone.
        data: the videos.
        store: to fill.
        made_by: fingerprint of the checkpoint; features made by another one are thrown away.
        parts: of train, val and test.
    """
    if trainer.is_global_zero:
        source = {
            "made_by": made_by,
            "dataset": data.dataset.name,
            "split": data.split,
            "train_crop": data.train_crop,
            "frames": [data.test_segments, data.test_frames_per_segment],
            **data.state_dict(),
        }
        store.open_for_writing(source, task.classes, data.videos, parts)
    trainer.strategy.barrier()
    crops = {"train": data.train_crop, "val": "center", "test": "ten"}
    for part in parts:
        records = getattr(data.videos, part)
        todo = [record for record in records if not store.path(record.id).exists()]
        trainer.strategy.barrier()  # nobody writes before everybody has looked
        if todo:
            loader = data.frames_loader(todo, crops[part])
            writer = _StoreWriter(store, todo, loader.dataset.clips.num_views)
            trainer.callbacks.append(writer)
            on_cpu = trainer.strategy.root_device.type == "cpu"
            with task.model.encoder.folded() if on_cpu else nullcontext():
                trainer.predict(_Encoding(task.model), loader, return_predictions=False)
            trainer.callbacks.remove(writer)
    trainer.strategy.barrier()
    if "train" in parts and trainer.is_global_zero:
        judge_videos(store, trainer.strategy.root_device)
    trainer.strategy.barrier()


class _Encoding(LightningModule):
    """Encodes one view of videos at a time; give it to `Trainer.predict`.

    Args:
        model: whose `encoder` is at work.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        # There may be fewer videos left than processes.
        self.allow_zero_length_dataloader_with_multiple_devices = True

    def predict_step(self, batch: dict) -> dict:
        """Return features (B, 1, N, T, D) and alpha (B, 1, N, T, H, W) or None."""
        features, weights = self.model.encoder(batch["clips"].squeeze(1))
        return {
            "features": features[:, None],
            "spatial_weights": None if weights is None else weights[:, None],
        }


class _StoreWriter(Callback):
    """Writes a video when all of its views are there; they come one at a time.

    Args:
        store: to write to.
        records: the videos that are looked at.
        num_views: of each of them.
    """

    def __init__(self, store: FeatureStore, records: list[VideoRecord], num_views: int):
        self.store = store
        self.records = records
        self.num_views = num_views
        self._views: dict[int, dict[int, dict[str, torch.Tensor]]] = {}

    def on_predict_batch_end(
        self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0
    ) -> None:
        numbers = zip(batch["index"].tolist(), batch["view"].tolist(), strict=True)
        for row, (index, view) in enumerate(numbers):
            tensors = {"features": outputs["features"][row].half().cpu()}
            if outputs["spatial_weights"] is not None:
                tensors["spatial_weights"] = outputs["spatial_weights"][row].half().cpu()
            if not torch.isfinite(tensors["features"]).all():
                raise UserError(
                    f"{self.records[index].path}: features are not finite; the backbone diverged. "
                    "Lower model.lr."
                )
            views = self._views.setdefault(index, {})
            views[view] = tensors
            if len(views) == self.num_views:
                self._write(index, batch["frame_indices"][row])

    def _write(self, index: int, frame_indices: torch.Tensor) -> None:
        """Write a video whose views are all there, in their order."""
        by_number = self._views.pop(index)
        views = [by_number[number] for number in sorted(by_number)]
        tensors = {}
        for name in views[0]:
            tensors[name] = torch.cat([view[name] for view in views])
        self.store.write(self.records[index].id, frame_indices=frame_indices, **tensors)
