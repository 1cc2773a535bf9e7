"""Score tables of several streams joined into one, with given weights or with weights learned on validation videos."""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from sta_tsn.errors import UserError
from sta_tsn.evaluation.scores import ScoreTable

PULL = 0.1  # towards equal weights, beside a cross entropy of about 1; a validation set has a few videos a class


def fuse(tables: Sequence[ScoreTable], weights: Sequence[float]) -> ScoreTable:
    """Weighted mean of the class scores before the softmax, joined by video id (the paper: 1 and 1; TSN: 1 and 1.5).

    Args:
        tables: of the same videos and classes, in any order.
        weights: one per table; only their ratios matter.

    Raises:
        UserError: ids missing on one side (they are listed), other classes or labels, wrong weights.
    """
    if len(tables) < 2 or len(tables) != len(weights):
        raise UserError(
            f"fusing takes two or more score tables and as many weights, not {len(tables)} and {len(weights)}"
        )
    if not all(0 <= weight < math.inf for weight in weights) or not sum(weights):
        raise UserError(
            f"weights {list(weights)}: none may be negative or without bound, one must be positive"
        )
    shares = torch.tensor(weights, dtype=tables[0].scores.dtype) / sum(weights)
    return _weighted(tables, shares[:, None], {"weights": list(weights)})


def two_streams(tables: Sequence[ScoreTable]) -> dict[str, ScoreTable]:
    """RGB and flow as one, on the videos that both have: 1 to 1, and with learned weights where both have validation scores."""
    shared = on_shared_videos(tables)
    fused = {"two-stream": fuse(shared, [1] * len(shared))}
    if all(table.validation for table in shared):
        fused["two-stream, learned"] = fuse_learned(shared)
    return fused


def fuse_learned(tables: Sequence[ScoreTable]) -> ScoreTable:
    """A weight for each stream and class, learned on the runs' validation videos alone (the paper's future work; a reading).

    Minimises the cross entropy of the weighted scores plus `PULL` times the squared distance from equal weights.

    Raises:
        UserError: a table without validation scores, or as `fuse`.
    """
    for number, table in enumerate(tables, 1):
        if table.validation is None:
            raise UserError(
                f"score table {number} has no validation scores to learn a fusion from; test its run again"
            )
    parts = [table.validation for table in tables]
    joined = [_aligned(part, parts[0]) for part in parts]
    weights = learn_weights(torch.stack([scores for scores, _ in joined]), joined[0][1])
    about = {"weights": weights.tolist(), "learned_on": len(parts[0].ids)}
    return _weighted(tables, weights, about)


def on_shared_videos(tables: Sequence[ScoreTable]) -> list[ScoreTable]:
    """The tables without test and validation videos that one of them lacks: a video of one frame has no flow.

    In each the videos left out count as missing. Where no validation video is in all, none has any.

    Raises:
        UserError: the tables are of several datasets or splits, or no video is in all of them.
    """
    protocols = [table.protocol for table in tables if "dataset" in table.protocol]
    tested_on = sorted(
        {f"{protocol['dataset']} split {protocol.get('split')}" for protocol in protocols}
    )
    if len(tested_on) > 1:
        raise UserError(
            f"the score tables are of {' and '.join(tested_on)}; fuse runs that were tested on one split"
        )
    tested = set.intersection(*(set(table.ids) for table in tables))
    if not tested:
        raise UserError(
            "no video is in all of the score tables; fuse runs that were tested on one split"
        )
    judged = [set(table.validation.ids) for table in tables if table.validation]
    shared = set.intersection(*judged) if judged else set()
    parts = [_only(table, tested) for table in tables]
    return [
        replace(
            part, validation=_only(part.validation, shared) if part.validation and shared else None
        )
        for part in parts
    ]


def _only(table: ScoreTable, names: set[str]) -> ScoreTable:
    rows = [row for row, name in enumerate(table.ids) if name in names]
    protocol = {
        **table.protocol,
        "missing": table.protocol.get("missing", 0) + len(table.ids) - len(rows),
    }
    beta = None if table.temporal_weights is None else table.temporal_weights[rows]
    ids, groups = ([names[row] for row in rows] for names in (table.ids, table.groups))
    return replace(
        table,
        ids=ids,
        groups=groups,
        scores=table.scores[rows],
        labels=table.labels[rows],
        protocol=protocol,
        temporal_weights=beta,
    )


def learn_weights(scores: Tensor, labels: Tensor) -> Tensor:
    """Weights (S, K), none negative, for scores (S, V, K) of S streams and labels (V, K)."""
    streams, _, classes = scores.shape
    targets = labels.double() / labels.sum(1, keepdim=True).clamp(min=1)
    weights = torch.full((streams, classes), 1 / streams, dtype=torch.double, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        fused = (weights.clamp(min=0)[:, None] * scores.double()).sum(0)
        loss = F.cross_entropy(fused, targets) + PULL * (weights * streams - 1).square().mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    return weights.detach().clamp(min=0).to(scores.dtype)


def _weighted(tables: Sequence[ScoreTable], weights: Tensor, about: dict) -> ScoreTable:
    """Weights (S, 1) or (S, K)."""
    first = tables[0]
    total = torch.zeros_like(first.scores)
    for table, weight in zip(tables, weights, strict=True):
        total += weight * _aligned(table, first)[0]
    protocol = {**first.protocol, "fused": [table.protocol for table in tables], **about}
    return ScoreTable(first.ids, total, first.labels, first.classes, protocol, groups=first.groups)


def _aligned(table: ScoreTable, first: ScoreTable) -> tuple[Tensor, Tensor]:
    """Scores and labels of `table` in the order of `first`, which must be of the same videos and classes."""
    if table.classes != first.classes:
        raise UserError("the score tables are of different classes; fuse runs of one dataset")
    one_side = sorted(set(table.ids) ^ set(first.ids))
    if one_side:
        more = f", ... ({len(one_side)} in all)" if len(one_side) > 5 else ""
        raise UserError(
            f"videos in one score table and not in the other: {', '.join(one_side[:5])}{more}; test both on the same split"
        )
    position = {name: row for row, name in enumerate(table.ids)}
    order = [position[name] for name in first.ids]
    if not torch.equal(table.labels[order], first.labels):
        raise UserError(
            "the score tables give a video different labels; fuse runs of one dataset and split"
        )
    return table.scores[order], table.labels[order]
