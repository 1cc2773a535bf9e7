"""Every row of a table as bars, with intervals."""

from pathlib import Path

import numpy as np

from sta_tsn.artefacts import save_figure
from sta_tsn.evaluation import ScoreTable
from sta_tsn.evaluation.charts import plt
from sta_tsn.evaluation.metrics import is_right
from sta_tsn.evaluation.statistics import accuracy_interval

GROUP_WIDTH = 0.8  # of the distance from one row to the next
COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44")


def rows_chart(tables: list[tuple[str, str, ScoreTable]], title: str, path: Path) -> None:
    """Draw the accuracy of every row with its 95 % interval.

    One group of bars a row, a colour a modality; seeds beside one another.

    Args:
        tables: (row, modality, score table) of the same splits.
        title: names the splits.
        path: of the picture.
    """
    rows = list(dict.fromkeys(row for row, _, _ in tables))
    modalities = list(dict.fromkeys(modality for _, modality, _ in tables))
    seeds: dict[tuple[str, str], list[ScoreTable]] = {}
    for row, modality, table in tables:
        seeds.setdefault((row, modality), []).append(table)
    figure, axes = plt.subplots(figsize=(1.6 + 1.5 * len(rows), 4))
    for (row, modality), same in seeds.items():
        colour = COLOURS[modalities.index(modality)]
        width = GROUP_WIDTH / len(modalities) / len(same)
        left = rows.index(row) - GROUP_WIDTH / 2
        for number, table in enumerate(same):
            place = modalities.index(modality) * len(same) + number
            x = left + width * (place + 0.5)
            mean, low, high = _accuracy(table)
            axes.bar(x, mean, width * 0.92, color=colour)
            axes.vlines(x, low, high, color="black", linewidth=1)
    axes.set_xticks(range(len(rows)), rows)
    heading = f"Micro accuracy, {title}, 95 % interval"
    if len(tables) > len(seeds):
        heading += "; a bar a seed"
    axes.set(ylabel="accuracy %", ylim=(0, 100), title=heading)
    axes.grid(axis="y", alpha=0.3)
    handles = [plt.Rectangle((0, 0), 1, 1, color=colour) for colour in COLOURS]
    below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.08), "frameon": False}
    axes.legend(handles[: len(modalities)], modalities, ncols=len(modalities), **below)
    save_figure(figure, path)
    plt.close(figure)


def _accuracy(table: ScoreTable) -> tuple[float, float, float]:
    """Return the accuracy and the ends of its interval, in %."""
    right = is_right(table.scores, table.labels).numpy()
    judged = ~np.isnan(right)
    low, high = accuracy_interval(right[judged], np.array(table.groups)[judged])
    return 100 * right[judged].mean(), 100 * low, 100 * high
