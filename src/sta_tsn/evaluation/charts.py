"""The paper's Figures 4 and 5 from a score table."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from sta_tsn.artefacts import save_figure
from sta_tsn.evaluation.metrics import confusion_matrix, per_class_accuracy
from sta_tsn.evaluation.scores import ScoreTable

MOST_CLASSES_AS_MATRIX = 40  # with more, numbers in the cells cannot be read

plt.switch_backend("Agg")  # files only, no screen
plt.rcParams["text.parse_math"] = False  # names of files and classes may hold a $


def per_class_chart(table: ScoreTable, title: str, path: Path) -> None:
    """Write Fig 4 as a file."""
    save_figure(per_class_figure(table, title), path)


def per_class_figure(table: ScoreTable, title: str) -> plt.Figure:
    """Return Fig 4: accuracy of each class that has a test video, in the dataset's order."""
    accuracies = 100 * per_class_accuracy(table.scores, table.labels).numpy()
    num_videos = table.labels.sum(0).tolist()
    shown = np.flatnonzero(~np.isnan(accuracies))
    places = range(len(shown))
    names = [f"{table.classes[k]} ({num_videos[k]})" for k in shown]
    width = max(6, 0.32 * len(shown))
    figure, axes = plt.subplots(figsize=(width, 4))
    axes.bar(places, accuracies[shown], color="#4477aa")
    axes.set_xticks(places, names, rotation=90)
    axes.set_ylim(0, 105)
    axes.set_ylabel("accuracy %")
    axes.set_title(f"{title}\naccuracy per class (test videos)")
    axes.grid(axis="y", alpha=0.3)
    plt.close(figure)
    return figure


def confusion_chart(table: ScoreTable, title: str, path: Path) -> None:
    """Write Fig 5 as a file."""
    save_figure(confusion_figure(table, title), path)


def confusion_figure(table: ScoreTable, title: str) -> plt.Figure:
    """Return Fig 5: share of each true class (rows) predicted as each class (columns).

    Up to 40 classes each cell that is not empty says how many videos it stands for.
    """
    counts = confusion_matrix(table.scores, table.labels).numpy().astype(float)
    occurs = counts.sum(0) + counts.sum(1)
    shown = np.flatnonzero(occurs)
    counts = counts[np.ix_(shown, shown)]
    of_class = counts.sum(1, keepdims=True)
    shares = counts / np.maximum(of_class, 1)
    names = [table.classes[k] for k in shown]
    places = range(len(names))
    side = np.clip(0.34 * len(names) + 2, 4.5, 16)
    figure, axes = plt.subplots(figsize=(side, side))
    image = axes.imshow(shares, cmap="viridis", vmin=0, vmax=1)
    axes.set_xticks(places, names, rotation=90)
    axes.set_yticks(places, names)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_title(f"{title}\nconfusion")
    if len(names) <= MOST_CLASSES_AS_MATRIX:
        _write_counts(axes, counts, shares)
    figure.colorbar(image, fraction=0.046, label="share of the true class")
    plt.close(figure)
    return figure


def _write_counts(axes: plt.Axes, counts: np.ndarray, shares: np.ndarray) -> None:
    """Write how many videos a cell of the confusion matrix has, where there are any."""
    centred = {"ha": "center", "va": "center"}
    centred["fontsize"] = 9 if len(counts) <= 25 else 7
    for row, column in np.argwhere(counts):
        on_light = shares[row, column] > 0.6
        colour = "black" if on_light else "white"
        axes.text(column, row, f"{counts[row, column]:.0f}", color=colour, **centred)
