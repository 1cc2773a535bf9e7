"""Score tables of several streams joined into one."""

from collections.abc import Sequence

import torch

from sta_tsn.errors import UserError
from sta_tsn.evaluation.scores import ScoreTable


def fuse(tables: Sequence[ScoreTable], weights: Sequence[float]) -> ScoreTable:
    """Weighted mean of the class scores before the softmax, joined by video id (the paper: 1 and 1; TSN: 1 and 1.5).

    Args:
        tables: of the same videos and classes, in any order.
        weights: one per table; only their ratios matter.

    Raises:
        UserError: ids missing on one side (they are listed), other classes or labels, wrong weights.
    """
    if len(tables) < 2 or len(tables) != len(weights):
        raise UserError(f"fusing takes two or more score tables and as many weights, not {len(tables)} and {len(weights)}")
    if min(weights) < 0 or not sum(weights):
        raise UserError(f"weights {list(weights)}: none may be negative, one must be positive")
    first = tables[0]
    total = torch.zeros_like(first.scores)
    for table, weight in zip(tables, weights, strict=True):
        if table.classes != first.classes:
            raise UserError("the score tables are of different classes; fuse runs of one dataset")
        one_side = sorted(set(table.ids) ^ set(first.ids))
        if one_side:
            more = f", ... ({len(one_side)} in all)" if len(one_side) > 5 else ""
            raise UserError(f"videos in one score table and not in the other: {', '.join(one_side[:5])}{more}; test both on the same split")
        position = {name: row for row, name in enumerate(table.ids)}
        order = [position[name] for name in first.ids]
        if not torch.equal(table.labels[order], first.labels):
            raise UserError("the score tables give a video different labels; fuse runs of one dataset and split")
        total += weight / sum(weights) * table.scores[order]
    protocol = {**first.protocol, "fused": [table.protocol for table in tables], "weights": list(weights)}
    return ScoreTable(first.ids, total, first.labels, first.classes, protocol)
