"""The report on unrelated frames: accuracy over their share, from score tables alone."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from sta_tsn.artefacts import atomic, save_figure
from sta_tsn.evaluation.charts import plt
from sta_tsn.evaluation.statistics import (
    NUM_DRAWS,
    Difference,
    accuracy_interval,
    paired_difference,
)
from sta_tsn.interference.answers import InterferenceRun
from sta_tsn.interference.measures import Recall
from sta_tsn.interference.rows import BETA, BETA_ALONE, MEAN, ORACLE, POSITIONED, ROWS
from sta_tsn.report.renderer import Picture, Report, Section, write_markdown, write_page

PAIRS = (  # first, second: neighbours in what they may use, and the two that the goals name
    (MEAN, BETA_ALONE),
    (BETA_ALONE, BETA),
    (BETA, POSITIONED),
    (POSITIONED, ORACLE),
    (MEAN, BETA),
    (BETA, ORACLE),
)
GOAL_SHARE = Fraction(2, 3)
GOAL_POINTS = 15  # of STA-TSN above the mean
GOAL_WAY = 0.6  # from the mean to the oracle
GOAL_RECALL = 2  # times chance
COLOURS = ("#4477aa", "#66ccee", "#ee6677", "#ccbb44", "#228833")


class Answers(NamedTuple):
    """Share of seeds that were right on each video of all splits, and its source."""

    right: np.ndarray
    sources: list[str]


def build_interference(
    runs: Sequence[InterferenceRun], dataset: str, facts: dict[str, str], folder: Path
) -> Path:
    """Write `report.md`, `index.html`, `curve.png` and one CSV a table; return the page.

    Args:
        runs: every row at every share for the same splits and seeds.
        dataset: as in `experiments/`.
        facts: what was run, by name.
        folder: to write to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    answers = answers_by_row(runs)
    shares = sorted({run.share for run in runs})
    tables = {
        "accuracy": accuracy_table(answers, shares),
        "key_frames": recall_table(runs, shares),
        "differences": differences_table(answers, shares),
        "runs": runs_table(runs),
    }
    for name, table in tables.items():
        with atomic(folder / f"{name}.csv") as path:
            table.to_csv(path, index=not isinstance(table.index, pd.RangeIndex))
    draw_curve(answers, shares, dataset, folder / "curve.png")
    curve = Picture(folder / "curve.png", "Accuracy over the share of unrelated frames", "wide")
    sections = [
        Section("Accuracy over the share of unrelated frames", CURVE_TEXT, pictures=[curve]),
        Section("Accuracy, %", ACCURACY_TEXT, tables["accuracy"]),
        Section("Which differences are real", DIFFERENCES_TEXT, tables["differences"]),
        Section("Are the key frames found?", RECALL_TEXT, tables["key_frames"]),
    ]
    verdict = "No share of 2/3 was run, for which the goals are."
    if GOAL_SHARE in shares:
        verdict = goals_text(runs, answers)
    seeds = sorted({run.seed for run in runs})
    splits = sorted({run.split for run in runs})
    clips = len(next(iter(answers.values())).right)
    counted = {
        "splits": ", ".join(map(str, splits)),
        "seeds": ", ".join(map(str, seeds)),
        "test clips": f"{clips}, a clip counts in every split that tests it",
    }
    report = Report(
        f"{dataset}: clips among unrelated frames", verdict, {**facts, **counted}, sections
    )
    write_markdown(report, folder / "report.md")
    return write_page(report, folder / "index.html")


CURVE_TEXT = (
    "Every clip is laid once at a random place into a longer video, with one unrelated video "
    "before it and another behind it. 3 x 10 frames are sampled from the whole. Bars are 95 % "
    "intervals over source videos."
)
ACCURACY_TEXT = (
    "Micro accuracy, mean of splits and seeds, with its 95 % interval over source videos. Each row "
    "is fitted anew at each share. The oracle knows which frames are the clip's, in training and "
    "testing, and leaves out segments without any; no β can do that."
)
DIFFERENCES_TEXT = (
    "Second minus first, in points, on the same videos; the interval is a bootstrap's over source "
    "videos, p of exchanging the two rows' answers source by source. A clip counts by the share of "
    "seeds that were right."
)
RECALL_TEXT = (
    "Of a video's k key frames (the clip's), how many are among its k frames of most weight. The "
    "weights of a video are β over the number of segments: every segment gets a third, one without "
    "key frames too. In segments: the same in each segment that holds both kinds of frames."
)


def answers_by_row(runs: Sequence[InterferenceRun]) -> dict[tuple[str, Fraction], Answers]:
    """Return the answers of each row at each share, the videos of all splits in the same order."""
    found: dict[tuple[str, Fraction], Answers] = {}
    for row in dict.fromkeys(run.row for run in runs):
        for share in {run.share for run in runs if run.row == row}:
            right: list[np.ndarray] = []
            sources: list[str] = []
            for split in sorted({run.split for run in runs}):
                of_seeds = [
                    run for run in runs if (run.row, run.share, run.split) == (row, share, split)
                ]
                right.append(np.mean([run.right.numpy() for run in of_seeds], axis=0))
                sources += of_seeds[0].videos.sources
            found[row, share] = Answers(np.concatenate(right), sources)
    return found


def accuracy_table(
    answers: dict[tuple[str, Fraction], Answers], shares: Sequence[Fraction]
) -> pd.DataFrame:
    """Return accuracy and interval in %, a line a row and a column a share."""
    lines = {}
    for row in ROWS:
        lines[row.title] = {
            _percent(share): _accuracy(answers[row.name, share]) for share in shares
        }
    return pd.DataFrame.from_dict(lines, orient="index")


def _accuracy(of: Answers) -> str:
    low, high = accuracy_interval(of.right, of.sources)
    return f"{100 * of.right.mean():.1f} ({100 * low:.1f} to {100 * high:.1f})"


def _percent(share: Fraction) -> str:
    return f"{share} unrelated"


def differences_table(
    answers: dict[tuple[str, Fraction], Answers], shares: Sequence[Fraction]
) -> pd.DataFrame:
    """Return one line for each pair of rows and share: points, interval and p."""
    lines = []
    for first, second in PAIRS:
        for share in shares:
            found = _difference(answers, first.name, second.name, share)
            lines.append(
                {
                    "first": first.title,
                    "second": second.title,
                    "unrelated": str(share),
                    "points": f"{100 * found.mean:+.1f}",
                    "95 % interval": f"{100 * found.low:+.1f} to {100 * found.high:+.1f}",
                    "p": f"{found.p:.4f}",
                }
            )
    return pd.DataFrame(lines)


def _difference(
    answers: dict[tuple[str, Fraction], Answers], first: str, second: str, share: Fraction
) -> Difference:
    one = answers[first, share]
    other = answers[second, share]
    return paired_difference(one.right, other.right, one.sources, NUM_DRAWS)


def recall_table(runs: Sequence[InterferenceRun], shares: Sequence[Fraction]) -> pd.DataFrame:
    """Return how many key frames each attention finds beside chance, in %."""
    lines = []
    for row in (BETA_ALONE, BETA, POSITIONED):
        for share in (share for share in shares if share > 0):
            whole = recall_of(runs, row.name, share, in_segments=False)
            parts = recall_of(runs, row.name, share, in_segments=True)
            lines.append(
                {
                    "row": row.title,
                    "unrelated": str(share),
                    "in videos %": f"{100 * whole.found.mean():.1f}",
                    "chance %": f"{100 * whole.chance.mean():.1f}",
                    "in segments %": f"{100 * parts.found.mean():.1f}",
                    "chance in them %": f"{100 * parts.chance.mean():.1f}",
                }
            )
    return pd.DataFrame(lines)


def recall_of(
    runs: Sequence[InterferenceRun], row: str, share: Fraction, in_segments: bool
) -> Recall:
    """Return the recall of all videos, splits and seeds of a row at a share."""
    chosen = [run for run in runs if (run.row, run.share) == (row, share)]
    counted = [run.in_segments if in_segments else run.in_videos for run in chosen]
    found = [of.recall for of in counted]
    return Recall(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def runs_table(runs: Sequence[InterferenceRun]) -> pd.DataFrame:
    """Return the accuracy of every fitted row, a line each."""
    lines = []
    for run in runs:
        lines.append(
            {
                "split": run.split,
                "unrelated": str(run.share),
                "row": run.row,
                "seed": run.seed,
                "accuracy %": round(100 * float(run.right.mean()), 2),
            }
        )
    return pd.DataFrame(lines)


def goals_text(
    runs: Sequence[InterferenceRun], answers: dict[tuple[str, Fraction], Answers]
) -> str:
    """Return what came of the goals at 2/3 unrelated frames, reached or by how much missed."""
    gain = _difference(answers, MEAN.name, BETA.name, GOAL_SHARE)
    mean, beta, oracle = (
        100 * answers[row.name, GOAL_SHARE].right.mean() for row in (MEAN, BETA, ORACLE)
    )
    recall = recall_of(runs, BETA.name, GOAL_SHARE, in_segments=False)
    found = 100 * float(recall.found.mean())
    chance = 100 * float(recall.chance.mean())
    points = 100 * gain.mean
    verdicts = [
        f"At {GOAL_SHARE} unrelated frames STA-TSN has {beta:.1f} %, the mean over frames "
        f"{mean:.1f} %: {points:+.1f} points (95 % interval {100 * gain.low:+.1f} to "
        f"{100 * gain.high:+.1f}, p = {gain.p:.4f}). "
        f"Goal {GOAL_POINTS} points: {_reached(points, GOAL_POINTS, 'points')}.",
        way_verdict(mean, beta, oracle),
        f"Key-frame recall {found:.1f} %, chance {chance:.1f} %. "
        f"Goal {GOAL_RECALL} x chance: {_reached(found, GOAL_RECALL * chance, 'points')}.",
    ]
    return " ".join(verdicts)


def way_verdict(mean: float, beta: float, oracle: float) -> str:
    """Return how far attention comes from the mean over frames to the oracle; accuracies in %."""
    way = 0.0
    if oracle > mean:
        way = 100 * (beta - mean) / (oracle - mean)
    return (
        f"That is {way:.0f} % of the way to the oracle ({oracle:.1f} %). "
        f"Goal {100 * GOAL_WAY:.0f} %: {_reached(way, 100 * GOAL_WAY, 'points')}."
    )


def _reached(value: float, goal: float, unit: str) -> str:
    if value >= goal:
        return "reached"
    return f"missed by {goal - value:.1f} {unit}".rstrip()


def draw_curve(
    answers: dict[tuple[str, Fraction], Answers],
    shares: Sequence[Fraction],
    dataset: str,
    path: Path,
) -> None:
    """Draw accuracy over share, a line a row with 95 % intervals."""
    figure, axes = plt.subplots(figsize=(7, 4.5))
    for number, row in enumerate(ROWS):
        heights = [100 * answers[row.name, share].right.mean() for share in shares]
        below, above = [], []
        for share, height in zip(shares, heights, strict=True):
            low, high = accuracy_interval(*answers[row.name, share])
            below.append(height - 100 * low)
            above.append(100 * high - height)
        places = [float(share) + 0.006 * (number - 2) for share in shares]  # bars side by side
        axes.errorbar(
            places,
            heights,
            [below, above],
            marker="o",
            capsize=3,
            color=COLOURS[number],
            label=row.title,
        )
    axes.set_xticks([float(share) for share in shares], [str(share) for share in shares])
    axes.set(
        xlabel="share of unrelated frames",
        ylabel="accuracy %",
        title=f"{dataset}: micro accuracy, 95 % intervals over sources",
    )
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    save_figure(figure, path)
    plt.close(figure)
