"""The score table of a run: what the model said of every test video.

Evaluation reads nothing else.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sta_tsn.artefacts import DAMAGED, atomic, first_line
from sta_tsn.errors import UserError
from sta_tsn.evaluation.metrics import (
    mean_average_precision,
    mean_class_accuracy,
    micro_accuracy,
    top_k_accuracy,
)

TOP_K = 5
TOP_K_NAME = f"top-{TOP_K} accuracy %"
# Of fewer classes five say nothing: by chance more than one video in four would be right.
CLASSES_OF_TOP_K = 4 * TOP_K
CONTROL = "control: "  # before the name of a control's array
DIGEST = "sha256"  # the array that holds the digest of all the others


@dataclass(frozen=True)
class ScoreTable:
    """Hold what a model said of V test videos about K classes.

    Args:
        ids: V names.
        scores: (V, K) before the softmax, mean over frames, segments and crops; of skeletons the
            softmax's logarithm.
        labels: bool (V, K).
        classes: K names.
        protocol: frames, crops, split, seed, versions, ...
        temporal_weights: beta (V, N, T) of the centre crop, stage two only.
        validation: the same run's scores of its validation videos (centre crop), which weights of a
            fusion may be learned from; None where a run has none.
        groups: source video of each, from which several may have been cut; each its own where that
            is not known.
        controls: scores (V, K) of the same videos disturbed (their frames shuffled, say), by the
            name of what was done to them.

    Raises:
        UserError: the parts do not fit each other, a video is named twice, or a score is not
            finite.
    """

    ids: list[str]
    scores: Tensor
    labels: Tensor
    classes: list[str]
    protocol: dict
    temporal_weights: Tensor | None = None
    validation: "ScoreTable | None" = None
    groups: list[str] = field(default_factory=list)
    controls: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self):
        if not self.groups:
            object.__setattr__(self, "groups", self.ids)
        if len(set(self.ids)) != len(self.ids):
            raise UserError("a score table names a video twice")
        size = (len(self.ids), len(self.classes))
        if self.scores.shape != size or self.labels.shape != size:
            raise UserError(
                f"scores {tuple(self.scores.shape)}, labels {tuple(self.labels.shape)}, "
                f"{len(self.ids)} ids do not fit"
            )
        if not self.scores.isfinite().all():
            raise UserError(
                "class scores that are not finite numbers: training diverged. Lower model.lr."
            )
        if len(self.groups) != len(self.ids):
            raise UserError(f"{len(self.groups)} groups for {len(self.ids)} ids")

    @property
    def summary(self) -> dict:
        """Return accuracy in % by both definitions, mAP in %, and N.

        Of many classes also the top-5 accuracy in %, as Kinetics and Something-Something are
        published.
        """
        measures = {"micro accuracy %": micro_accuracy}
        if len(self.classes) >= CLASSES_OF_TOP_K:
            measures[TOP_K_NAME] = partial(top_k_accuracy, k=TOP_K)
        measures["mean-class accuracy %"] = mean_class_accuracy
        measures["mAP %"] = mean_average_precision
        found = {}
        for name, measure in measures.items():
            found[name] = round(100 * measure(self.scores, self.labels), 2)
        found["videos"] = len(self.ids)
        return found

    def save(self, path: str | os.PathLike) -> None:
        """Write the table as a compressed npz, with a digest of all of its arrays."""
        arrays = {
            "ids": np.array(self.ids),
            "scores": self.scores.numpy(),
            "labels": self.labels.numpy(),
            "groups": np.array(self.groups),
            "classes": np.array(self.classes),
            "protocol": np.array(json.dumps(self.protocol)),
        }
        if self.temporal_weights is not None:
            arrays["temporal_weights"] = self.temporal_weights.numpy()
        for name, scores in self.controls.items():
            arrays[CONTROL + name] = scores.numpy()
        if self.validation is not None:
            arrays["val_ids"] = np.array(self.validation.ids)
            arrays["val_scores"] = self.validation.scores.numpy()
            arrays["val_labels"] = self.validation.labels.numpy()
        # An open file: given a name, numpy would add .npz to it.
        with atomic(path) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, **arrays, **{DIGEST: np.array(_digest(arrays))})

    @classmethod
    def load(cls, path: str | os.PathLike) -> "ScoreTable":
        """Read a table from its file, or from a run's folder.

        Raises:
            UserError: no such file, no score table, or it has changed since it was written.
        """
        path = Path(path, "scores.npz") if Path(path).is_dir() else Path(path)
        if not path.exists():
            raise UserError(
                f"No score table {path}: the run has not been tested; train it to its end."
            )
        try:
            return cls._of(_read_arrays(path))
        except (UserError, SyntaxError, MemoryError, *DAMAGED) as error:
            raise UserError(
                f"{path} is no score table, which is a run's scores.npz: {first_line(error)}. "
                "If it is a run's, delete it, and the command that trained the run tests it again."
            ) from error

    @classmethod
    def _of(cls, arrays: dict[str, np.ndarray]) -> "ScoreTable":
        protocol = json.loads(str(arrays["protocol"]))
        if not isinstance(protocol, dict):
            raise UserError("its protocol names nothing")
        classes = arrays["classes"].tolist()
        beta = None
        if "temporal_weights" in arrays:
            beta = torch.from_numpy(arrays["temporal_weights"])
        validation = None
        controls = {}
        for name, array in arrays.items():
            if name.startswith(CONTROL):
                controls[name.removeprefix(CONTROL)] = torch.from_numpy(array)
        if "val_ids" in arrays:
            validation = cls(
                arrays["val_ids"].tolist(),
                torch.from_numpy(arrays["val_scores"]),
                torch.from_numpy(arrays["val_labels"]),
                classes,
                protocol,
            )
        # Older tables have no groups.
        groups = arrays["groups"].tolist() if "groups" in arrays else []
        return cls(
            arrays["ids"].tolist(),
            torch.from_numpy(arrays["scores"]),
            torch.from_numpy(arrays["labels"]),
            classes,
            protocol,
            temporal_weights=beta,
            controls=controls,
            validation=validation,
            groups=groups,
        )


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return a table's arrays, compared with its digest; older tables have none.

    Raises:
        UserError: arrays are missing or have changed since they were written.
    """
    with open(path, "rb") as file:
        start = file.read(6)
    if not start.startswith((b"PK", b"\x93NUMPY")):  # numpy would propose to unpickle it
        raise UserError("it is empty or of another kind")
    found = np.load(path, allow_pickle=False)
    if not isinstance(found, np.lib.npyio.NpzFile):
        raise UserError("it is a single array")
    try:
        with found as file:
            # One wrong length in the archive's list makes a comment of all entries behind it.
            if any(member.comment for member in file.zip.infolist()):
                raise UserError("its list of arrays is damaged")
            arrays = {name: file[name] for name in file}
    except OSError as error:  # a jump to a place that the file names and does not have
        raise UserError(first_line(error)) from error
    written = arrays.pop(DIGEST, None)
    if missing := {"ids", "scores", "labels", "classes", "protocol"} - set(arrays):
        raise UserError(f"{', '.join(sorted(missing))} missing")
    if written is not None and str(written) != _digest(arrays):
        raise UserError("it has changed since it was written")
    return arrays


def _digest(arrays: dict[str, np.ndarray]) -> str:
    """Return the SHA-256 of names, types, shapes and bytes of arrays."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def pooled(tables: Sequence[ScoreTable]) -> ScoreTable:
    """Join the tables of several splits of one dataset, for figures: (V1 + V2 + ..., K).

    A video of two splits is in it twice, its id led by the split's number.

    Raises:
        UserError: the dataset's classes were others for one split than for another.
    """
    if len({tuple(table.classes) for table in tables}) > 1:
        raise UserError(
            "the splits were trained with different classes; train them anew on the same dataset"
        )
    ids: list[str] = []
    groups: list[str] = []
    for table in tables:
        split = table.protocol["split"]
        ids.extend(f"split {split}: {name}" for name in table.ids)
        groups.extend(table.groups)
    return ScoreTable(
        ids=ids,
        scores=torch.cat([table.scores for table in tables]),
        labels=torch.cat([table.labels for table in tables]),
        classes=tables[0].classes,
        protocol=tables[0].protocol,
        groups=groups,
    )
