"""A grid of heads on frozen features: trained together, chosen on validation, tested once."""

import itertools
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from sta_tsn.errors import ConfigError
from sta_tsn.models import HeadGrid
from sta_tsn.tasks.controls import controlled_scores
from sta_tsn.tasks.recognition import ActionRecognition, top_and_true_class

LRS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
WEIGHT_DECAYS = (1e-2, 1e-1, 1.0, 10.0)


class ProbeGrid(ActionRecognition):
    """Trains a head once for every pair of learning rate and weight decay, all in one pass.

    AdamW with a cosine to 0. The heads see the same batches; each has its own loss, and their sum
    gives each its own gradient. After the last epoch the head with the highest accuracy on the
    validation videos is chosen (of equal ones that with the least loss). They are of other sources
    than what was learned from; no test video has a part in it.

    Subclasses say what a head is (`build_head`), or what the whole grid is where it is not made of
    heads with gradients (`build_grid`).

    Args:
        classes: class names; their number is K.
        feature_dim: D of the features.
        frames: segments x frames of each that a video has.
        lrs: learning rates.
        weight_decays: each learning rate meets each.
    """

    metrics: ClassVar = (*ActionRecognition.metrics, "val/chosen")
    takes_places: ClassVar = False  # whether heads know where in the video a frame stands

    def __init__(
        self,
        classes: list[str],
        feature_dim: int,
        frames: tuple[int, int],
        lrs: Sequence[float] = LRS,
        weight_decays: Sequence[float] = WEIGHT_DECAYS,
    ):
        self.feature_dim = feature_dim
        self.num_frames = frames[0] * frames[1]
        self.settings = list(itertools.product(lrs, weight_decays))
        super().__init__(nn.Identity(), classes)
        self.model = self.build_grid()
        self.save_hyperparameters(logger=False)  # with the task's name, for `predict`
        self._keep_results(Tally(len(self.settings)))

    @abstractmethod
    def build_head(self) -> nn.Module:
        """Return one head with fresh parameters."""

    def build_grid(self) -> nn.Module:
        """Return as many heads as there are settings; all begin with the same parameters."""
        first = self.build_head()
        heads = [first]
        for _ in self.settings[1:]:
            twin = self.build_head()
            twin.load_state_dict(first.state_dict())
            heads.append(twin)
        return HeadGrid(heads, self.feature_dim)

    @property
    def choice(self) -> dict:
        """Return the settings of the chosen head and every head's validation accuracy in %."""
        lr, weight_decay = self.settings[int(self.model.chosen)]
        return {"lr": lr, "weight_decay": weight_decay, "grid": self.grid_results}

    @property
    def grid_results(self) -> list[dict]:
        """Return a line for every head: its settings and what it reached on validation videos."""
        lines = []
        accuracies = self.val_accuracies.tolist()
        losses = self.val_losses.tolist()
        for (lr, weight_decay), accuracy, loss in zip(
            self.settings, accuracies, losses, strict=True
        ):
            line = {"lr": lr, "weight_decay": weight_decay}
            lines.append({**line, "val accuracy %": round(100 * accuracy, 2), "val loss": loss})
        return lines

    def _keep_results(self, tally: "Tally") -> None:
        """Keep what the heads reached in the checkpoint, which may be tested by another process."""
        self.register_buffer("val_accuracies", tally.accuracies.to(self.device))
        self.register_buffer("val_losses", tally.losses.to(self.device))

    def on_fit_start(self) -> None:
        super().on_fit_start()
        if len(self.settings) > 1 and not self.trainer.datamodule.videos.val:
            raise ConfigError(
                "There are no validation videos to choose a head by: hold some out (data.val_share "
                "above 0, and classes of two sources or more), or leave one setting in the grid."
            )
        mean, deviation = self.trainer.datamodule.statistics()
        self.model.mean.copy_(mean)
        self.model.deviation.copy_(deviation)

    def training_step(self, batch: dict) -> Tensor:
        scores = self.model.scores_of_all(batch["features"].squeeze(1).float())
        losses = losses_of_heads(scores, batch["labels"])
        chosen = int(self.model.chosen)
        self.log_training(losses[chosen].detach(), scores[chosen].detach(), batch["labels"])
        return losses.sum()

    def on_validation_epoch_start(self) -> None:
        self._tally = Tally(len(self.settings))

    def validation_step(self, batch: dict) -> None:
        scores = self.model.scores_of_all(batch["features"].squeeze(1).float())
        self._tally.add(scores, batch["labels"])

    def on_validation_epoch_end(self) -> None:
        chosen = self._tally.best()
        self.model.chosen.fill_(chosen)
        self._keep_results(self._tally)
        self.log("val/loss", self.val_losses[chosen])
        self.log("val/accuracy", self.val_accuracies[chosen], prog_bar=True)
        self.log("val/chosen", float(chosen))

    def test_step(self, batch: dict) -> None:
        """Keep the scores of a batch, and those of the controls, averaged over crops."""
        super().test_step(batch)
        of_crops = []
        for crop in batch["features"].float().unbind(1):
            of_crops.append(controlled_scores(self.model, crop, self.takes_places))
        means = {}
        for name in of_crops[0]:
            means[name] = torch.stack([scores[name] for scores in of_crops]).mean(0)
        for row, index in enumerate(batch["index"].tolist()):
            of_video = {name: scores[row] for name, scores in means.items()}
            self.test_outputs[index]["controls"] = of_video

    def configure_optimizers(self) -> dict:
        groups = []
        for head, (lr, weight_decay) in zip(self.model.heads, self.settings, strict=True):
            parameters = list(head.parameters())
            groups.append({"params": parameters, "lr": lr, "weight_decay": weight_decay})
        # Fused: one pass over the memory for each tensor, a quarter of the time of a step.
        optimizer = torch.optim.AdamW(groups, fused=True)
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def losses_of_heads(scores: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross entropy (G,) of each head's scores (G, B, K), labels (B, K)."""
    shares = labels / labels.sum(1, keepdim=True)
    return -(scores.log_softmax(-1) * shares).sum(-1).mean(-1)


class Tally:
    """What G heads reach on validation videos.

    Args:
        num_heads: G.
    """

    def __init__(self, num_heads: int):
        self.right = torch.zeros(num_heads)
        self.loss = torch.zeros(num_heads)
        self.videos = 0

    def add(self, scores: Tensor, labels: Tensor) -> None:
        """Count the answers (G, B, K) on videos with labels (B, K)."""
        labels_of_all = labels.repeat(len(scores), 1)
        top, true = top_and_true_class(scores.flatten(0, 1), labels_of_all)
        right = (top == true).unflatten(0, scores.shape[:2])
        self.right += right.sum(1).cpu()
        self.loss += len(labels) * losses_of_heads(scores, labels).cpu()
        self.videos += len(labels)

    @property
    def accuracies(self) -> Tensor:
        """Return the share of right answers of each head, (G,)."""
        return self.right / max(1, self.videos)

    @property
    def losses(self) -> Tensor:
        """Return the mean loss of each head, (G,)."""
        return self.loss / max(1, self.videos)

    def best(self) -> int:
        """Return the head with the most right answers; of equal ones that with the least loss.

        A head that diverged is never the best unless all did.
        """
        losses = self.losses.nan_to_num(nan=torch.inf)
        right = self.right.masked_fill(losses.isinf(), -1)
        candidates = right == right.max()
        return int(losses.masked_fill(~candidates, torch.inf).argmin())
