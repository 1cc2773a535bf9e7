"""What a reader of a report asks first: what went wrong, what is confused, how it was learned."""

from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from sta_tsn.artefacts import save_figure
from sta_tsn.evaluation import ScoreTable, confusion_matrix
from sta_tsn.evaluation.charts import MOST_CLASSES_AS_MATRIX, plt
from sta_tsn.evaluation.metrics import is_right
from sta_tsn.evaluation.statistics import accuracy_interval
from sta_tsn.report.renderer import Section

NUM_WRONG_CLIPS = 10
NUM_PAIRS = 30


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


def wrong_clips(table: ScoreTable, count: int = NUM_WRONG_CLIPS) -> Section | None:
    """Return the wrong answers that the network was surest of; None where there is none."""
    right = is_right(table.scores, table.labels).numpy()
    wrong = np.flatnonzero(right == 0)
    if not len(wrong):
        return None
    probabilities = table.scores.softmax(1)
    sureness, answers = (values.numpy() for values in probabilities.max(1))
    worst = wrong[np.argsort(-sureness[wrong], kind="stable")][:count]
    lines = []
    for video in worst:
        labels = np.flatnonzero(table.labels[video].numpy())
        lines.append(
            {
                "video": table.ids[video],
                "shows": " and ".join(table.classes[label] for label in labels),
                "taken for": table.classes[answers[video]],
                "probability": f"{sureness[video]:.2f}",
                "of the true class": f"{probabilities[video, labels].max():.2f}",
            }
        )
    text = (
        f"{len(wrong)} of the answers are wrong; these are the ones the network was surest of. "
        "Look at these clips first: a wrong label shows here, too."
    )
    return Section("The most certain wrong answers", text, pd.DataFrame(lines))


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


def _occurring(counts: np.ndarray) -> np.ndarray:
    """Return the classes that are some video's, or some video was taken for."""
    return np.flatnonzero(counts.sum(0) + counts.sum(1))


def curves_chart(metrics: dict[str, Path], path: Path) -> bool:
    """Draw loss and accuracy by epoch of each run that has a `metrics.csv`; return whether any has.

    Args:
        metrics: the runs' files by the rows' titles; missing ones are left out.
        path: of the picture.
    """
    histories = {title: pd.read_csv(file) for title, file in metrics.items() if file.exists()}
    measures = ("loss", "accuracy")
    drawn = []
    figure, axes = plt.subplots(1, 2, figsize=(11, 4))
    for number, (title, history) in enumerate(histories.items()):
        for part, style in (("train", "--"), ("val", "-")):
            for measure, panel in zip(measures, axes, strict=True):
                column = f"{part}/{measure}"
                if column not in history or "epoch" not in history:
                    continue
                values = history[["epoch", column]].dropna().groupby("epoch")[column].mean()
                if values.empty:
                    continue
                marker = "o" if len(values) == 1 else None
                said = f"{title}, {'training' if part == 'train' else 'validation'}"
                panel.plot(
                    values.index + 1,
                    values,
                    style,
                    color=f"C{number}",
                    marker=marker,
                    label=said,
                )
                drawn.append(said)
    for measure, panel in zip(measures, axes, strict=True):
        panel.set(xlabel="epoch", title=measure)
        panel.grid(alpha=0.3)
    handles, labels = [], []
    for panel in axes:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            if label not in labels:
                handles.append(handle)
                labels.append(label)
    if drawn:
        figure.legend(
            handles, labels, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=3, frameon=False
        )
        save_figure(figure, path)
    plt.close(figure)
    return bool(drawn)


def backbone_of(protocol: dict) -> str:
    """Return the backbone that the command line named; "" where it named none."""
    for run in protocol.get("fused", [protocol]):
        for argument in run.get("arguments", []):
            name, _, value = argument.partition("=")
            if name == "--model.backbone":
                given = yaml.safe_load(value)  # {name: ..., options: ...}
                return str(given["name"] if isinstance(given, dict) else given)
    return ""
