"""The score table of a run: what the model said of every test video. Evaluation reads nothing else."""

import json
import os
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sta_tsn.artefacts import atomic
from sta_tsn.errors import UserError
from sta_tsn.evaluation.metrics import mean_average_precision, mean_class_accuracy, micro_accuracy


@dataclass(frozen=True)
class ScoreTable:
    """V test videos, K classes.

    ids: V names. scores: (V, K) before the softmax, mean over frames, segments and crops (of skeletons the softmax's logarithm).
    labels: bool (V, K).
    classes: K names. protocol: frames, crops, split, seed, versions, ... temporal_weights: beta (V, N, T) of
    the centre crop, stage two only. validation: the same run's scores of its validation videos (centre crop), which weights of
    a fusion may be learned from; None where a run has none. groups: source video of each, from which several may have been
    cut; each its own where that is not known.
    """

    ids: list[str]
    scores: Tensor
    labels: Tensor
    classes: list[str]
    protocol: dict
    temporal_weights: Tensor | None = None
    validation: "ScoreTable | None" = None
    groups: list[str] = field(default_factory=list)

    def __post_init__(self):
        if not self.groups:
            object.__setattr__(self, "groups", self.ids)
        if len(set(self.ids)) != len(self.ids):
            raise UserError("a score table names a video twice")
        if self.scores.shape != self.labels.shape or self.scores.shape != (
            len(self.ids),
            len(self.classes),
        ):
            raise UserError(
                f"scores {tuple(self.scores.shape)}, labels {tuple(self.labels.shape)}, {len(self.ids)} ids do not fit"
            )
        if not self.scores.isfinite().all():
            raise UserError(
                "class scores that are not finite numbers: training diverged. Lower model.lr."
            )
        if len(self.groups) != len(self.ids):
            raise UserError(f"{len(self.groups)} groups for {len(self.ids)} ids")

    @property
    def summary(self) -> dict:
        """Accuracy in % by both definitions, mAP in %, and N."""
        measures = {
            "micro accuracy %": micro_accuracy,
            "mean-class accuracy %": mean_class_accuracy,
            "mAP %": mean_average_precision,
        }
        return {
            name: round(100 * measure(self.scores, self.labels), 2)
            for name, measure in measures.items()
        } | {"videos": len(self.ids)}

    def save(self, path: str | os.PathLike) -> None:
        arrays = {
            "ids": np.array(self.ids),
            "scores": self.scores.numpy(),
            "labels": self.labels.numpy(),
            "groups": np.array(self.groups),
        }
        if self.temporal_weights is not None:
            arrays["temporal_weights"] = self.temporal_weights.numpy()
        if self.validation is not None:
            own = self.validation
            arrays |= {
                "val_ids": np.array(own.ids),
                "val_scores": own.scores.numpy(),
                "val_labels": own.labels.numpy(),
            }
        text = {"classes": np.array(self.classes), "protocol": np.array(json.dumps(self.protocol))}
        with (
            atomic(path) as temporary,
            open(temporary, "wb") as file,
        ):  # given a name, numpy would add .npz to it
            np.savez_compressed(file, **arrays, **text)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "ScoreTable":
        """From a file, or from a run's folder."""
        path = Path(path, "scores.npz") if Path(path).is_dir() else Path(path)
        if not path.exists():
            raise UserError(f"No score table {path}: the run has not been tested (make train).")
        try:
            return cls._read(path)
        except (ValueError, EOFError, zipfile.BadZipFile, zlib.error, UserError) as error:
            remedy = (
                "If it is a run's, delete it, and the command that trained the run tests it again."
            )
            raise UserError(
                f"{path} is no score table, which is a run's scores.npz: {error}. {remedy}"
            ) from error

    @classmethod
    def _read(cls, path: Path) -> "ScoreTable":
        with np.load(path, allow_pickle=False) as file:
            if missing := {"ids", "scores", "labels", "classes", "protocol"} - set(file):
                raise UserError(f"{', '.join(sorted(missing))} missing")
            beta = (
                torch.from_numpy(file["temporal_weights"]) if "temporal_weights" in file else None
            )
            about = {
                "classes": file["classes"].tolist(),
                "protocol": json.loads(str(file["protocol"])),
            }
            if not isinstance(about["protocol"], dict):
                raise UserError("its protocol names nothing")
            groups = file["groups"].tolist() if "groups" in file else []  # older tables have none
            test, val = (
                {
                    "ids": file[f"{part}ids"].tolist(),
                    **{name: torch.from_numpy(file[part + name]) for name in ("scores", "labels")},
                }
                if f"{part}ids" in file
                else None
                for part in ("", "val_")
            )
            return cls(
                **test,
                **about,
                temporal_weights=beta,
                validation=cls(**val, **about) if val else None,
                groups=groups,
            )


def pooled(tables: Sequence[ScoreTable]) -> ScoreTable:
    """Tables of several splits of one dataset as one, for figures: (V1 + V2 + ..., K). A video of two splits is in it twice.

    Raises:
        UserError: the dataset's classes were others for one split than for another.
    """
    if len({tuple(table.classes) for table in tables}) > 1:
        raise UserError(
            "the splits were trained with different classes; train them anew on the same dataset"
        )
    ids = [f"split {table.protocol['split']}: {name}" for table in tables for name in table.ids]
    scores, labels = (
        torch.cat([getattr(table, part) for table in tables]) for part in ("scores", "labels")
    )
    groups = [name for table in tables for name in table.groups]
    return ScoreTable(ids, scores, labels, tables[0].classes, tables[0].protocol, groups=groups)
