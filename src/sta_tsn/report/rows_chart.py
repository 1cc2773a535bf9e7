"""Every row of a table as bars, with intervals."""

from pathlib import Path

import numpy as np

from sta_tsn.artefacts import save_figure
from sta_tsn.evaluation import ScoreTable
from sta_tsn.evaluation.charts import plt
from sta_tsn.evaluation.metrics import is_right
from sta_tsn.evaluation.statistics import accuracy_interval


def rows_chart(tables: list[tuple[str, str, ScoreTable]], title: str, path: Path) -> None:
    """Accuracy of every row with its 95 % interval, one group of bars a modality; seeds beside one another.

    Args:
        tables: (row, modality, score table) of the same splits.
    """
    rows, modalities = (
        list(dict.fromkeys(values)) for values in list(zip(*tables, strict=True))[:2]
    )
    figure, axes = plt.subplots(figsize=(1.6 + 1.5 * len(rows), 4))
    for row, modality in {(row, modality): None for row, modality, _ in tables}:
        same = [table for one, other, table in tables if (one, other) == (row, modality)]
        for number, table in enumerate(same):
            right = is_right(table.scores, table.labels).numpy()
            judged = ~np.isnan(right)
            right = right[judged]
            low, high = accuracy_interval(right, np.array(table.groups)[judged])
            width = 0.8 / len(modalities) / len(same)
            x = (
                rows.index(row)
                - 0.4
                + width * (modalities.index(modality) * len(same) + number + 0.5)
            )
            colour = ("#4477aa", "#ee6677", "#228833", "#ccbb44")[modalities.index(modality)]
            axes.bar(x, 100 * right.mean(), width * 0.92, color=colour, label=modality)
            axes.vlines(x, 100 * low, 100 * high, color="black", linewidth=1)
    axes.set_xticks(range(len(rows)), rows)
    several = len(tables) > len({(row, modality) for row, modality, _ in tables})
    axes.set(
        ylabel="accuracy %",
        ylim=(0, 100),
        title=f"Micro accuracy, {title}, 95 % interval" + "; a bar a seed" * several,
    )
    axes.grid(axis="y", alpha=0.3)
    named = dict(
        zip(*reversed(axes.get_legend_handles_labels()), strict=True)
    )  # each modality once
    axes.legend(
        named.values(),
        named.keys(),
        loc="upper center",
        bbox_to_anchor=(0.5, -0.08),
        ncols=len(modalities),
        frameon=False,
    )
    save_figure(figure, path)
