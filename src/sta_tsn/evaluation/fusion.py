"""Score tables of several streams joined into one.

The streams' weights are given, or learned on validation videos.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from sta_tsn.errors import UserError
from sta_tsn.evaluation.scores import ScoreTable

# Pull of learned weights towards equal ones, beside a cross entropy of about 1: a validation set
# has a few videos a class.
PULL = 0.1


def fuse(tables: Sequence[ScoreTable], weights: Sequence[float]) -> ScoreTable:
    """Return the weighted mean of the class scores before the softmax, joined by video id.

    The paper weighs RGB and flow 1 and 1, TSN 1 and 1.5.

    Args:
        tables: of the same videos and classes, in any order.
        weights: one per table; only their ratios matter.

    Raises:
        UserError: ids missing on one side (they are listed), other classes or labels, or wrong
            weights.
    """
    if len(tables) < 2 or len(tables) != len(weights):
        raise UserError(
            "fusing takes two or more score tables and as many weights, "
            f"not {len(tables)} and {len(weights)}"
        )
    if not all(0 <= weight < math.inf for weight in weights) or not sum(weights):
        raise UserError(
            f"weights {list(weights)}: none may be negative or without bound, one must be positive"
        )
    shares = torch.tensor(weights, dtype=tables[0].scores.dtype) / sum(weights)
    return _weighted(tables, shares[:, None], {"weights": list(weights)})


def two_streams(tables: Sequence[ScoreTable]) -> dict[str, ScoreTable]:
    """Fuse RGB and flow on the videos that both have.

    Returns:
        The table of weights 1 to 1, and the one of learned weights where both runs have validation
        scores, by name.
    """
    shared = on_shared_videos(tables)
    fused = {"two-stream": fuse(shared, [1] * len(shared))}
    if all(table.validation for table in shared):
        fused["two-stream, learned"] = fuse_learned(shared)
    return fused


def fuse_learned(tables: Sequence[ScoreTable]) -> ScoreTable:
    """Fuse with a weight for each stream and class, learned on the runs' validation videos alone.

    The paper names learned weights as future work; this is a reading of it. They minimise the cross
    entropy of the weighted scores plus `PULL` times the squared distance from equal weights.

    Raises:
        UserError: a table without validation scores, or as `fuse`.
    """
    for number, table in enumerate(tables, 1):
        if table.validation is None:
            raise UserError(
                f"score table {number} has no validation scores to learn a fusion from; "
                "test its run again"
            )
    parts = [table.validation for table in tables]
    scores, labels = zip(*(_aligned(part, parts[0]) for part in parts), strict=True)
    weights = learn_weights(torch.stack(scores), labels[0])
    about = {"weights": weights.tolist(), "learned_on": len(parts[0].ids)}
    return _weighted(tables, weights, about)


def on_shared_videos(tables: Sequence[ScoreTable]) -> list[ScoreTable]:
    """Return the tables without test and validation videos that one of them lacks.

    A video of one frame, for instance, has no flow. In each table the test videos left out count
    as missing. Where no validation video is in all, none has any.

    Raises:
        UserError: the tables are of several datasets or splits, or no video is in all of them.
    """
    _check_same_split(tables)
    tested = set.intersection(*(set(table.ids) for table in tables))
    if not tested:
        raise UserError(
            "no video is in all of the score tables; fuse runs that were tested on one split"
        )
    judged = [set(table.validation.ids) for table in tables if table.validation]
    shared = set.intersection(*judged) if judged else set()
    parts = []
    for table in tables:
        part = _only(table, tested)
        validation = None
        if part.validation and shared:
            validation = _only(part.validation, shared)
        parts.append(replace(part, validation=validation))
    return parts


def _check_same_split(tables: Sequence[ScoreTable]) -> None:
    tested_on = set()
    for table in tables:
        if "dataset" in table.protocol:
            split = table.protocol.get("split")
            tested_on.add(f"{table.protocol['dataset']} split {split}")
    if len(tested_on) > 1:
        raise UserError(
            f"the score tables are of {' and '.join(sorted(tested_on))}; "
            "fuse runs that were tested on one split"
        )


def _only(table: ScoreTable, names: set[str]) -> ScoreTable:
    rows = [row for row, name in enumerate(table.ids) if name in names]
    missing = table.protocol.get("missing", 0) + len(table.ids) - len(rows)
    beta = None
    if table.temporal_weights is not None:
        beta = table.temporal_weights[rows]
    return replace(
        table,
        ids=[table.ids[row] for row in rows],
        groups=[table.groups[row] for row in rows],
        scores=table.scores[rows],
        labels=table.labels[rows],
        protocol={**table.protocol, "missing": missing},
        temporal_weights=beta,
    )


def learn_weights(scores: Tensor, labels: Tensor) -> Tensor:
    """Learn weights (S, K), none negative, for scores (S, V, K) of S streams and labels (V, K)."""
    streams, _, classes = scores.shape
    targets = labels.double() / labels.sum(1, keepdim=True).clamp(min=1)
    weights = torch.full((streams, classes), 1 / streams, dtype=torch.double, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        fused = (weights.clamp(min=0)[:, None] * scores.double()).sum(0)
        distance = (weights * streams - 1).square().mean()
        loss = F.cross_entropy(fused, targets) + PULL * distance
        loss.backward()
        return loss

    optimizer.step(closure)
    return weights.detach().clamp(min=0).to(scores.dtype)


def _weighted(tables: Sequence[ScoreTable], weights: Tensor, about: dict) -> ScoreTable:
    """Return the sum of the tables' scores times `weights`, (S, 1) or (S, K)."""
    first = tables[0]
    total = torch.zeros_like(first.scores)
    for table, weight in zip(tables, weights, strict=True):
        scores, _ = _aligned(table, first)
        total += weight * scores
    protocol = {**first.protocol, "fused": [table.protocol for table in tables], **about}
    return ScoreTable(first.ids, total, first.labels, first.classes, protocol, groups=first.groups)


def _aligned(table: ScoreTable, first: ScoreTable) -> tuple[Tensor, Tensor]:
    """Return scores and labels of `table` in the order of `first`.

    Raises:
        UserError: the tables are not of the same videos, classes and labels.
    """
    if table.classes != first.classes:
        raise UserError("the score tables are of different classes; fuse runs of one dataset")
    one_side = sorted(set(table.ids) ^ set(first.ids))
    if one_side:
        more = f", ... ({len(one_side)} in all)" if len(one_side) > 5 else ""
        raise UserError(
            f"videos in one score table and not in the other: {', '.join(one_side[:5])}{more}; "
            "test both on the same split"
        )
    position = {name: row for row, name in enumerate(table.ids)}
    order = [position[name] for name in first.ids]
    if not torch.equal(table.labels[order], first.labels):
        raise UserError(
            "the score tables give a video different labels; fuse runs of one dataset and split"
        )
    return table.scores[order], table.labels[order]
