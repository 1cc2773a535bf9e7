"""What the verbs of a dataset can be told."""

from dataclasses import dataclass, field
from pathlib import Path

from sta_tsn.pipeline.recipes import default_experiments
from sta_tsn.runs.layout import DatasetRuns


@dataclass(frozen=True)
class TrainOptions:
    """What the commands of a dataset can be told.

    Attributes:
        dataset: a folder of `experiments/datasets`.
        data: the dataset's folder; the recipe's where None.
        split: official split, from 1.
        modality: rgb, flow or two-stream.
        model: name of a study.
        backbone: name of a timm network; the recipe's where None.
        weights: imagenet, none, or a file; the recipe's where None.
        devices: GPUs or processes on the CPU, as Lightning takes them.
        nodes: number of machines.
        runs: folder that everything is written to.
        seed: of everything random.
        allow_missing: go on without videos that are absent or do not decode.
        experiments: folder of the recipes.
        workers: processes that read data, of each device; the recipe's where None.
        epochs: of every stage; the recipe's where None.
        settings: arguments of constructors for every stage that takes them, each as
            `model.lr=0.01`.
        unrelated: folders of unrelated videos, for the study of interference; the recipe's where
            none is named.
        features: store of a frozen encoder's features, for heads; that of `backbone` where None.
        shots: numbers of labelled videos of each class that heads learn from; all where empty.
    """

    dataset: str = "demo"
    data: str | None = None
    split: int = 1
    modality: str = "rgb"
    model: str = "sta_tsn"
    backbone: str | None = None
    weights: str | None = None
    devices: str = "auto"
    nodes: int = 1
    runs: str = "runs"
    seed: int = 0
    allow_missing: bool = False
    experiments: str = field(default_factory=default_experiments)
    workers: int | None = None
    epochs: int | None = None
    settings: tuple[str, ...] = ()
    unrelated: tuple[str, ...] = ()
    features: str | None = None
    shots: tuple[int, ...] = ()

    @property
    def stage_settings(self) -> list[str]:
        """Return `settings` and what `epochs` and `workers` are short for; the last one wins."""
        settings = list(self.settings)
        if self.epochs is not None:
            settings.insert(0, f"trainer.max_epochs={self.epochs}")
        if self.workers is not None:
            settings.append(f"data.num_workers={self.workers}")
        return settings

    @property
    def place(self) -> DatasetRuns:
        """Return where the dataset's runs lie."""
        return DatasetRuns.below(self.runs, self.dataset)

    @property
    def recipes(self) -> Path:
        """Return the folder of the dataset's recipes, one YAML file a stage."""
        return Path(self.experiments, "datasets", self.dataset)
