"""What all tasks share: accuracy, epochs that can be repeated, scores of the test videos."""

import inspect
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.classification import MulticlassAccuracy

from sta_tsn.lightning import LightningModule, save_hyperparameters
from sta_tsn.models import ActionOutput


class ActionRecognition(LightningModule):
    """Trains `model`; subclasses say how a batch becomes a loss and what the optimiser is.

    A batch's `labels` (B, K) are 1 for each class of a video. Readings for videos with several: the
    target of the cross entropy gives each the same share, and a top class among them is right.

    Testing and predicting take `features` (B, V, N, T, D) from a store, or `clips` (B, V, N, T, C,
    S, S), V crops: the class scores of all crops are averaged. After `trainer.test`, `test_outputs`
    holds for every video, on every process, its position among the test videos, scores (K,) and
    beta (N, T) of the centre crop (absent in stage one), and test/accuracy is the share of right
    answers.

    `keeps_proportions` says of a loaded checkpoint what `VideoDataModule` was told. A network that
    says in `settings` how it is built has its class and them in the checkpoint, for `predict`.
    `logs_test_accuracy` is off where a score table says more (`sta-tsn fit`).

    Args:
        model: a network with `classify(features (B, N, T, D)) -> ActionOutput`.
        classes: their names; they travel in the checkpoint.
    """

    # Names in metrics.csv and W&B.
    metrics: ClassVar = ("train/loss", "train/accuracy", "val/loss", "val/accuracy")

    def __init__(self, model: nn.Module, classes: list[str]):
        super().__init__()
        self.model = model
        self.classes = list(classes)
        # Eq 19; torchmetrics' default is macro.
        self.train_accuracy = MulticlassAccuracy(len(classes), average="micro")
        self.val_accuracy = self.train_accuracy.clone()
        self.test_outputs: dict[int, dict[str, Tensor]] = {}
        self.keeps_proportions = False
        self.logs_test_accuracy = True
        self._share_of_step = 1.0
        # There may be fewer videos left than processes.
        self.allow_zero_length_dataloader_with_multiple_devices = True

    def forward(self, clips: Tensor) -> ActionOutput:
        """Return the network's output of clips (B, N, T, C, S, S)."""
        return self.model(clips)

    def keep_hyperparameters(self, *left_out: str) -> None:
        """Keep what the constructors were given, in `hparams` and in checkpoints.

        To be called in a constructor. Lightning's own method would, under LightningCLI, add the
        names of what loading the checkpoint then calls, and leave out arguments that were not
        given.

        Args:
            left_out: names of arguments that are not kept.
        """
        save_hyperparameters(self, ignore=left_out, frame=inspect.currentframe().f_back)

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        settings = getattr(self.model, "settings", None)
        if settings is not None:
            checkpoint["network"] = {"class": type(self.model).__name__, "settings": settings}

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        """Remember how frames were cropped for this network, for whoever shows it videos."""
        shown = checkpoint.get("VideoDataModule") or checkpoint.get("FeatureDataModule") or {}
        self.keeps_proportions = shown.get("keep_proportions", False)

    def on_fit_start(self) -> None:
        self._first_seed = torch.initial_seed()

    def on_train_epoch_start(self) -> None:
        self.model.train()

    def on_train_batch_start(self, batch: dict, batch_idx: int) -> None:
        """Seed dropout by the step, its part and the process: a resumed run equals another."""
        part = batch_idx % self.trainer.accumulate_grad_batches
        torch.manual_seed(
            self._first_seed + 1_000_000 * part + 1000 * self.global_step + self.global_rank
        )
        self._share_of_step = self._weight_in_step(len(batch["labels"]), batch_idx)

    def _weight_in_step(self, num_videos: int, batch_idx: int) -> float:
        """Return the weight of a pass's mean loss, which makes every video of a step count alike.

        Lightning divides the gradient of each pass by `accumulate_grad_batches`, but the last step
        of an epoch may have fewer passes, and its last pass fewer videos.
        """
        trainer = self.trainer
        passes = trainer.accumulate_grad_batches
        if passes == 1:
            return 1.0
        loader = trainer.train_dataloader
        in_epoch = min(len(loader.sampler), trainer.num_training_batches * loader.batch_size)
        in_full_step = passes * loader.batch_size
        in_step = min(in_full_step, in_epoch - batch_idx // passes * in_full_step)
        return num_videos * passes / in_step

    def backward(self, loss: Tensor, *args, **kwargs) -> None:
        """Go backward from a pass's loss with its weight in the step."""
        super().backward(loss * self._share_of_step, *args, **kwargs)

    def log_training(self, loss: Tensor, scores: Tensor, labels: Tensor, **terms: Tensor) -> None:
        """Log a step's loss, the `terms` that it is made of, and the epoch's accuracy."""
        self.train_accuracy(*top_and_true_class(scores, labels))
        self.log("train/loss", loss, prog_bar=True)
        for name, value in terms.items():
            self.log(f"train/{name}", value)
        self._log_of_epoch("train/accuracy", self.train_accuracy)

    def log_validation(self, scores: Tensor, labels: Tensor) -> None:
        """Log loss and accuracy, means over the validation videos."""
        self.val_accuracy(*top_and_true_class(scores, labels))
        loss = classification_loss(scores, labels)
        self.log("val/loss", loss, batch_size=len(labels), sync_dist=True)
        self._log_of_epoch("val/accuracy", self.val_accuracy)

    def _log_of_epoch(self, name: str, accuracy: MulticlassAccuracy) -> None:
        self.log(name, accuracy, on_step=False, on_epoch=True, prog_bar=True)

    def on_test_epoch_start(self) -> None:
        self.test_outputs.clear()

    def test_step(self, batch: dict) -> None:
        """Keep the scores of a batch of videos, averaged over crops."""
        answer = self.answer(batch)
        scores = answer.scores.float().cpu()
        beta = answer.temporal_weights  # of the centre crop
        right = batch["labels"].cpu().gather(1, scores.argmax(1, keepdim=True)) > 0
        for row, index in enumerate(batch["index"].tolist()):
            kept = {"scores": scores[row], "right": bool(right[row])}
            if beta is not None:
                kept["temporal_weights"] = beta[row].float().cpu()
            self.test_outputs[index] = kept

    def predict_step(self, batch: dict) -> dict[str, Tensor]:
        """Return what `Trainer.predict` collects of a batch of whole videos.

        That is `index` (B,), their positions among the videos that are predicted; `probabilities`
        (B, K); and `temporal_weights` (B, N, T) of the centre crop where the network has any.
        """
        answer = self.answer(batch)
        said = {"index": batch["index"], "probabilities": answer.scores.float().softmax(1)}
        if answer.temporal_weights is not None:
            said["temporal_weights"] = answer.temporal_weights
        return said

    def answer(self, batch: dict) -> ActionOutput:
        """Return the mean class scores (B, K) of all crops of videos, and the first crop's beta."""
        if "features" in batch:
            crops = batch["features"].float().unbind(1)
        else:
            # Half precision, as features are stored: the suite's own tests read them from there.
            views = batch["clips"].unbind(1)
            crops = [self.model.encoder(view)[0].half().float() for view in views]
        outputs = [self.model.classify(crop) for crop in crops]
        scores = torch.stack([output.scores for output in outputs]).mean(0)
        return ActionOutput(scores, temporal_weights=outputs[0].temporal_weights)

    def on_test_epoch_end(self) -> None:
        """Give every process every video once, however the videos were dealt out."""
        if torch.distributed.is_initialized():
            parts: list[dict] = [{}] * self.trainer.world_size
            torch.distributed.all_gather_object(parts, self.test_outputs)
            self.test_outputs = {}
            for part in parts:
                self.test_outputs |= part
        if self.test_outputs and self.logs_test_accuracy:
            right = [output["right"] for output in self.test_outputs.values()]
            self.log("test/accuracy", sum(right) / len(right))


def classification_loss(scores: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Return the cross entropy of scores (B, K) with multi-hot labels (B, K).

    Every class of a video has the same share of its target.
    """
    targets = labels / labels.sum(1, keepdim=True)
    return F.cross_entropy(scores, targets, label_smoothing=label_smoothing)


def top_and_true_class(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the top class (B,) and the class that it should be (B,).

    That is itself where it is one of the labels, else the first of them.
    """
    top = scores.argmax(1)
    hit = labels.gather(1, top[:, None]).squeeze(1) > 0
    return top, torch.where(hit, top, labels.argmax(1))
