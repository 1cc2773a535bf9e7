"""What a reader of a report asks first: what went wrong, what is confused, how it was learned."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from sta_tsn.artefacts import save_figure
from sta_tsn.evaluation import ScoreTable, confusion_matrix
from sta_tsn.evaluation.charts import MOST_CLASSES_AS_MATRIX, plt
from sta_tsn.evaluation.metrics import is_right, per_class_accuracy
from sta_tsn.evaluation.statistics import accuracy_interval
from sta_tsn.report.renderer import Picture, Section
from sta_tsn.runs.layout import CONFIG_FILE

NUM_SUREST = 8
NUM_FARTHEST = 4
NUM_PAIRS = 30
NUM_LEAST = 20

DrawClips = Callable[[list[str]], dict[str, Picture]]


def accuracy_sentence(title: str, table: ScoreTable) -> str:
    """Return "**Title: 55.6 %** of the 268 test videos are recognised (95 % interval ...)."."""
    right = is_right(table.scores, table.labels).numpy()
    judged = ~np.isnan(right)
    if not judged.any():
        return f"**{title}**: no test video has a class, so there is no accuracy."
    groups = np.array(table.groups)[judged]
    low, high = accuracy_interval(right[judged], groups)
    return (
        f"**{title}: {100 * right[judged].mean():.1f} %** of the {judged.sum()} test videos are "
        f"recognised (95 % interval {100 * low:.1f} to {100 * high:.1f} %, over "
        f"{len(set(groups))} source videos)."
    )


def wrong_clips(table: ScoreTable, draw: DrawClips | None = None) -> list[Section]:
    """Return the wrong answers that the network was surest of, and those farthest from the truth.

    Args:
        table: of the network.
        draw: draws videos by their ids and returns the pictures by id; None: there are none.
    """
    right = is_right(table.scores, table.labels).numpy()
    wrong = np.flatnonzero(right == 0)
    probabilities = table.scores.softmax(1)
    sureness = probabilities.max(1).values.numpy()
    of_truth = (probabilities * table.labels).max(1).values.numpy()
    surest = wrong[np.argsort(-sureness[wrong], kind="stable")][:NUM_SUREST]
    others = np.setdiff1d(wrong, surest)
    farthest = others[np.argsort(of_truth[others], kind="stable")][:NUM_FARTHEST]
    pictures = draw([table.ids[video] for video in [*surest, *farthest]]) if draw else {}
    text = (
        f"{len(wrong)} of {np.sum(~np.isnan(right))} answers are wrong; the surest come first. "
        "Look at these clips before others: a wrong label shows here, too."
    )
    sections = []
    if len(surest):
        shown = _wrong_answers(table, surest, pictures)
        sections.append(Section("The most certain wrong answers", text, *shown))
    if len(farthest):
        text = "Their true class got the least probability of all others that are wrong."
        shown = _wrong_answers(table, farthest, pictures)
        sections.append(Section("The answers farthest from the truth", text, *shown))
    return sections


def _wrong_answers(
    table: ScoreTable, videos: Sequence[int], pictures: dict[str, Picture]
) -> tuple[pd.DataFrame, str, list[Picture]]:
    """Return a section's table, no best row, and its pictures."""
    probabilities = table.scores.softmax(1)
    lines = []
    drawn = []
    for video in videos:
        labels = np.flatnonzero(table.labels[video].numpy())
        answer = int(probabilities[video].argmax())
        sureness = float(probabilities[video, answer])
        shows = " and ".join(table.classes[label] for label in labels)
        lines.append(
            {
                "video": table.ids[video],
                "shows": shows,
                "taken for": table.classes[answer],
                "probability": f"{sureness:.2f}",
                "of the true class": f"{probabilities[video, labels].max():.2f}",
            }
        )
        picture = pictures.get(table.ids[video])
        if picture:
            said = f"{table.ids[video]}: {shows}, taken for {table.classes[answer]}"
            caption = f"{said} ({sureness:.2f}). {picture.caption}"
            drawn.append(replace(picture, caption=caption))
    return pd.DataFrame(lines), "", drawn


def confused_pairs(table: ScoreTable, count: int = NUM_PAIRS) -> Section | None:
    """Return the pairs of classes most often confused, where they are too many for a matrix."""
    counts = confusion_matrix(table.scores, table.labels).numpy()
    if len(_occurring(counts)) <= MOST_CLASSES_AS_MATRIX:
        return None
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:count]
    lines = []
    for true, said in zip(*np.unravel_index(order, wrong.shape), strict=True):
        if not wrong[true, said]:
            break
        lines.append(
            {
                "shows": table.classes[true],
                "taken for": table.classes[said],
                "videos": int(wrong[true, said]),
                "of": int(counts[true].sum()),
            }
        )
    if not lines:
        return None
    return Section("Classes most often confused", "", pd.DataFrame(lines))


def least_recognised(table: ScoreTable, count: int = NUM_LEAST) -> Section | None:
    """Return the classes with the least accuracy, where they are too many for a readable chart."""
    accuracies = per_class_accuracy(table.scores, table.labels).numpy()
    tested = np.flatnonzero(~np.isnan(accuracies))
    if len(tested) <= MOST_CLASSES_AS_MATRIX:
        return None
    numbers = table.labels.sum(0).numpy()
    lines = []
    for label in tested[np.argsort(accuracies[tested], kind="stable")][:count]:
        share = f"{100 * accuracies[label]:.0f}"
        name = table.classes[label]
        lines.append({"class": name, "accuracy %": share, "videos": int(numbers[label])})
    return Section("Classes recognised least", "", pd.DataFrame(lines))


def _occurring(counts: np.ndarray) -> np.ndarray:
    """Return the classes that are some video's, or some video was taken for."""
    return np.flatnonzero(counts.sum(0) + counts.sum(1))


def curves_chart(metrics: dict[str, Path], path: Path) -> bool:
    """Draw loss and accuracy by epoch of each run that has a `metrics.csv`.

    Args:
        metrics: the runs' files by the rows' titles; missing ones are left out.
        path: of the picture.

    Returns:
        Whether any was drawn; else there is no picture.
    """
    figure, panels = plt.subplots(1, 2, figsize=(11, 4))
    legend = {}
    for measure, panel in zip(("loss", "accuracy"), panels, strict=True):
        for number, (title, file) in enumerate(metrics.items()):
            history = pd.read_csv(file) if file.exists() else pd.DataFrame()
            for part, style in (("train", "--"), ("val", "-")):
                values = _by_epoch(history, f"{part}/{measure}")
                if values.empty:
                    continue
                name = f"{title}, {'training' if part == 'train' else 'validation'}"
                marker = "o" if len(values) == 1 else None
                epochs = values.index + 1
                lines = panel.plot(epochs, values, style, color=f"C{number}", marker=marker)
                legend.setdefault(name, lines[0])
        panel.set(xlabel="epoch", title=measure)
        panel.grid(alpha=0.3)
    if legend:
        below = {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "frameon": False}
        figure.legend(list(legend.values()), list(legend), ncols=3, **below)
        save_figure(figure, path)
    plt.close(figure)
    return bool(legend)


def _by_epoch(history: pd.DataFrame, column: str) -> pd.Series:
    """Return the column's mean in each epoch; empty where it was not logged."""
    if column not in history or "epoch" not in history:
        return pd.Series(dtype=float)
    return history[["epoch", column]].dropna().groupby("epoch")[column].mean()


def backbone_of(run: Path) -> str:
    """Return the backbone that a run's configuration names; "" where none is there.

    Args:
        run: folder of either stage; of stage two the one that it began from is looked up.
    """
    try:
        settings = yaml.safe_load((run / CONFIG_FILE).read_text(encoding="utf-8"))
        model = settings["model"]["init_args"]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError):
        return ""
    if "backbone_checkpoint" in model:
        return backbone_of(Path(model["backbone_checkpoint"]).parent.parent)
    backbone = model.get("backbone", "")
    return str(backbone["name"] if isinstance(backbone, dict) else backbone)
