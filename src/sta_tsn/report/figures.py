"""The paper's Figures 4 and 5 from a score table."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from sta_tsn.artefacts import atomic
from sta_tsn.evaluation import ScoreTable, confusion_matrix, per_class_accuracy
from sta_tsn.evaluation.metrics import is_right
from sta_tsn.evaluation.statistics import accuracy_interval

plt.switch_backend("Agg")  # files only, no screen
plt.rcParams["text.parse_math"] = False  # names of files and classes may hold a $


def per_class_chart(table: ScoreTable, title: str, path: Path) -> None:
    """Fig 4 as a file."""
    save_figure(per_class_figure(table, title), path)


def per_class_figure(table: ScoreTable, title: str) -> plt.Figure:
    """Fig 4: accuracy of each class, in the dataset's order; classes without a test video are left out."""
    accuracies = 100 * per_class_accuracy(table.scores, table.labels).numpy()
    shown = np.flatnonzero(~np.isnan(accuracies))
    counts = table.labels.sum(0).numpy()[shown]
    figure, axes = plt.subplots(figsize=(max(6, 0.32 * len(shown)), 4))
    axes.bar(range(len(shown)), accuracies[shown], color="#4477aa")
    axes.set_xticks(range(len(shown)), [f"{table.classes[k]} ({n})" for k, n in zip(shown, counts, strict=True)], rotation=90)
    axes.set(ylabel="accuracy %", ylim=(0, 105), title=f"{title}\naccuracy per class (test videos)")
    axes.grid(axis="y", alpha=0.3)
    plt.close(figure)
    return figure


def confusion_chart(table: ScoreTable, title: str, path: Path) -> None:
    """Fig 5 as a file."""
    save_figure(confusion_figure(table, title), path)


def confusion_figure(table: ScoreTable, title: str) -> plt.Figure:
    """Fig 5: share of each true class (rows) predicted as each class (columns)."""
    counts = confusion_matrix(table.scores, table.labels).numpy().astype(float)
    shown = np.flatnonzero(counts.sum(0) + counts.sum(1))
    counts = counts[np.ix_(shown, shown)]
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    names = [table.classes[k] for k in shown]
    side = min(16, max(4.5, 0.34 * len(shown) + 2))
    figure, axes = plt.subplots(figsize=(side, side))
    image = axes.imshow(shares, cmap="viridis", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="predicted class", ylabel="true class", title=f"{title}\nconfusion")
    figure.colorbar(image, fraction=0.046, label="share of the true class")
    plt.close(figure)
    return figure


def save_figure(figure, path: Path) -> None:
    with atomic(path) as temporary:
        figure.savefig(temporary, bbox_inches="tight", dpi=90, format=path.suffix[1:] or "png")
    plt.close(figure)


def rows_chart(tables: list[tuple[str, str, ScoreTable]], title: str, path: Path) -> None:
    """Accuracy of every row with its 95 % interval, one group of bars a modality; seeds beside one another.

    Args:
        tables: (row, modality, score table) of the same splits.
    """
    rows, modalities = (list(dict.fromkeys(values)) for values in list(zip(*tables, strict=True))[:2])
    figure, axes = plt.subplots(figsize=(1.6 + 1.5 * len(rows), 4))
    for row, modality in {(row, modality): None for row, modality, _ in tables}:
        same = [table for one, other, table in tables if (one, other) == (row, modality)]
        for number, table in enumerate(same):
            right = is_right(table.scores, table.labels).numpy()
            judged = ~np.isnan(right)
            right = right[judged]
            low, high = accuracy_interval(right, np.array(table.groups)[judged])
            width = 0.8 / len(modalities) / len(same)
            x = rows.index(row) - 0.4 + width * (modalities.index(modality) * len(same) + number + 0.5)
            colour = ("#4477aa", "#ee6677", "#228833", "#ccbb44")[modalities.index(modality)]
            axes.bar(x, 100 * right.mean(), width * 0.92, color=colour, label=modality)
            axes.vlines(x, 100 * low, 100 * high, color="black", linewidth=1)
    axes.set_xticks(range(len(rows)), rows)
    several = len(tables) > len({(row, modality) for row, modality, _ in tables})
    axes.set(ylabel="accuracy %", ylim=(0, 100), title=f"Micro accuracy, {title}, 95 % interval" + "; a bar a seed" * several)
    axes.grid(axis="y", alpha=0.3)
    named = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))  # each modality once
    axes.legend(named.values(), named.keys(), loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=len(modalities), frameon=False)
    save_figure(figure, path)
