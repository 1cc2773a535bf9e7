"""What the verbs of a dataset can be told."""

from dataclasses import dataclass, field
from pathlib import Path

from sta_tsn.pipeline.recipes import default_experiments
from sta_tsn.runs.layout import DatasetRuns


@dataclass(frozen=True)
class TrainOptions:
    """What `make train` can be told; the Makefile's variables in lower case.

    workers: processes that read data, of each device; the recipe's where None. settings: arguments of
    constructors for every stage that takes them, each as `model.lr=0.01` (SET in the Makefile). unrelated: folders
    of unrelated videos, for the study of interference; the recipe's where none is named.
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
    settings: tuple[str, ...] = ()
    unrelated: tuple[str, ...] = ()

    @property
    def place(self) -> DatasetRuns:
        """Return where the dataset's runs lie."""
        return DatasetRuns.below(self.runs, self.dataset)

    @property
    def recipes(self) -> Path:
        """Return the folder of the dataset's recipes, one YAML file a stage."""
        return Path(self.experiments, "datasets", self.dataset)
