"""Where everything lies below RUNS, and what a run is called in folders, tables and W&B.

No other file of this room or of a later one spells these paths.
"""

import os
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

# Of one run.
ABOUT_FILE = "run.json"
CONFIG_FILE = "config.yaml"
METRICS_FILE = "metrics.csv"
SCORES_FILE = "scores.npz"
CARD_FILE = "README.md"
ATTENTION_FILE = "attention.json"  # what was measured of a stage-two run's attention

LAYOUT = re.compile(
    r"(?P<dataset>[^/]+)/split(?P<split>\d+)/(?P<model>[^/]+)/(?P<modality>[^/]+)"
    r"/seed(?P<seed>\d+)/(?P<stage>[^/]+)$"
)


@dataclass(frozen=True)
class DatasetRuns:
    """`runs/<dataset>`: the runs of one dataset and what they share."""

    path: Path

    @classmethod
    def below(cls, runs: str | os.PathLike, dataset: str) -> "DatasetRuns":
        """Return the dataset's place below RUNS."""
        return cls(Path(runs, dataset))

    @classmethod
    def of(cls, run: Path) -> "DatasetRuns":
        """Return the place that a run's folder, which `run_identity` knows, lies in."""
        return cls(run.parents[4])

    @property
    def manifest(self) -> Path:
        """Return the file of frame counts."""
        return self.path / "manifest.csv"

    @property
    def check(self) -> Path:
        """Return the file that `check-data` writes."""
        return self.path / "check.json"

    @property
    def flow(self) -> Path:
        """Return the folder of the flow store."""
        return self.path / "flow"

    def features(self, encoder: str) -> Path:
        """Return the folder of the features of all videos by a frozen encoder."""
        return self.path / "features" / encoder

    def run(self, split: int, model: str, modality: str, seed: int, stage: str) -> Path:
        """Return the folder of one run."""
        return self.path / f"split{split}" / model / modality / f"seed{seed}" / stage

    def tested(self, model: str, modality: str, stage: str) -> list[Path]:
        """Return the score tables of every split and seed that are there, in order."""
        runs = self.path.glob(f"split*/{model}/{modality}/seed*/{stage}/{SCORES_FILE}")
        return sorted(runs)

    def report(self, model: str) -> Path:
        """Return the folder of a model's report over splits and seeds."""
        return self.path / "report" / model

    def report_of_one(self, model: str, split: int, seed: int) -> Path:
        """Return the folder of a model's report of one split and seed."""
        return self.report(model) / f"split{split}" / f"seed{seed}"

    @property
    def interference(self) -> "InterferenceRuns":
        """Return where the study of clips among unrelated frames lies."""
        return InterferenceRuns(self.path / "interference")


@dataclass(frozen=True)
class InterferenceRuns:
    """`runs/<dataset>/interference`: the study of clips among unrelated frames.

    A share is of unrelated frames, 2/3 say.
    """

    path: Path

    @property
    def clip_features(self) -> Path:
        """Return the folder of the features of the dataset's clips."""
        return self.path / "features" / "clips"

    @property
    def footage_features(self) -> Path:
        """Return the folder of the features of the unrelated footage."""
        return self.path / "features" / "unrelated"

    @property
    def footage_manifest(self) -> Path:
        """Return the file of the footage's frame counts."""
        return self.path / "unrelated.csv"

    @property
    def comparison(self) -> Path:
        """Return the file that tells how far spliced features are from spliced files'."""
        return self.path / "spliced_files.json"

    @property
    def answers(self) -> Path:
        """Return the file of all rows' answers, which the report is made from without tables."""
        return self.path / "answers.npz"

    def judged(self, split: int, share: Fraction, made_by: str) -> Path:
        """Return the file of which training frames are judged true."""
        return self._share(split, share) / f"judged_{made_by}.safetensors"

    def key_frames(self, split: int, share: Fraction) -> Path:
        """Return the file of the test videos' key frames, the same for every row and seed."""
        return self._share(split, share) / "key_frames.safetensors"

    def scores(self, split: int, share: Fraction, row: str, seed: int) -> Path:
        """Return the score table of a fitted row."""
        return self._share(split, share) / row / f"seed{seed}" / SCORES_FILE

    def fitted(self) -> list[tuple[int, int]]:
        """Return split and seed of which any row was fitted, in order."""
        found = set()
        for folder in self.path.glob("split*/share_*/*/seed*"):
            split = folder.parents[2].name.removeprefix("split")
            found.add((int(split), int(folder.name.removeprefix("seed"))))
        return sorted(found)

    def _share(self, split: int, share: Fraction) -> Path:
        name = f"share_{share.numerator}_{share.denominator}"
        return self.path / f"split{split}" / name


def sweeps_folder(runs: str | os.PathLike) -> Path:
    """Return the folder of the sweeps below RUNS."""
    return Path(runs, "sweeps")


def run_identity(folder: Path) -> dict[str, str | int]:
    """Return dataset, split, model, modality, seed and stage of a run's folder; {} of another.

    Example:
        >>> run_identity(Path("runs/demo/split1/cnn/rgb/seed0/backbone"))["model"]
        'cnn'
    """
    found = LAYOUT.search(folder.absolute().as_posix())
    if not found:
        return {}
    identity: dict[str, str | int] = dict(found.groupdict())
    identity["split"] = int(found["split"])
    identity["seed"] = int(found["seed"])
    return identity


def run_name(folder: Path) -> str:
    """Return what a run is called: its path from the dataset on, else the last three folders.

    Example:
        >>> run_name(Path("/data/runs/demo/split1/cnn/rgb/seed0/backbone"))
        'demo/split1/cnn/rgb/seed0/backbone'
        >>> run_name(Path("runs/sweeps/lr/trial-001"))
        'sweeps/lr/trial-001'
    """
    length = 6 if run_identity(folder) else 3
    return "/".join(folder.absolute().parts[-length:])


def flat_settings(config: dict) -> dict[str, Any]:
    """Return a configuration under the names of the command line, one value a name.

    Lists become tuples, which pandas can compare.

    Example:
        >>> flat_settings({"model": {"class_path": "X", "init_args": {"lr": 0.1, "steps": [3]}}})
        {'model.class_path': 'X', 'model.lr': 0.1, 'model.steps': (3,)}
    """
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, dict):
            prefix = "" if name == "init_args" else f"{name}."
            for key, setting in flat_settings(value).items():
                flat[prefix + key] = setting
        elif isinstance(value, list):
            flat[name] = tuple(value)
        else:
            flat[name] = value
    return flat
