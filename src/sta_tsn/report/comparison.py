"""Runs side by side: learning curves, accuracies with intervals, and which differences are real."""

from collections.abc import Sequence
from itertools import combinations

import pandas as pd
from matplotlib.figure import Figure

from sta_tsn.errors import UserError
from sta_tsn.evaluation.statistics import accuracy_interval, paired_difference
from sta_tsn.runs.run_tables import Runs


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Return each name without the folders that all of them begin with.

    Example:
        >>> short_names(["demo/split1/cnn/rgb", "demo/split1/sa_cnn/rgb"])
        {'demo/split1/cnn/rgb': 'cnn/rgb', 'demo/split1/sa_cnn/rgb': 'sa_cnn/rgb'}
    """
    parts = [name.split("/") for name in dict.fromkeys(names)]
    most = min((len(one) for one in parts), default=1) - 1  # of each the last part stays
    shared = 0
    while shared < most and len({one[shared] for one in parts}) == 1:
        shared += 1
    return {"/".join(one): "/".join(one[shared:]) for one in parts}


def curves_figure(history: pd.DataFrame, metrics: Sequence[str]) -> Figure:
    """Draw one panel a metric, over the share of training done: stages differ in what a step is.

    Args:
        history: of `load_runs`.
        metrics: its columns; those that no run logged are left out.

    Raises:
        UserError: no run logged any of them.
    """
    metrics = [name for name in metrics if name in history and history[name].notna().any()]
    if not metrics:
        logged = ", ".join(sorted(set(history.columns) - {"step", "epoch"})) or "nothing"
        raise UserError(f"None of the runs logged any of these metrics. Logged: {logged}.")
    num_columns = min(2, len(metrics))
    num_rows = -(-len(metrics) // 2)
    figure = Figure(figsize=(5.5 * num_columns, 3.3 * num_rows + 0.6), layout="constrained")
    panels = figure.subplots(num_rows, num_columns, squeeze=False).flatten()
    for axes in panels[len(metrics) :]:
        axes.axis("off")
    names = short_names(history.index.tolist())
    for metric, axes in zip(metrics, panels, strict=False):
        for number, (name, rows) in enumerate(history.groupby(level="run", sort=False)):
            logged = rows[["step", metric]].dropna()
            share = 100 * (logged["step"] + 1) / (rows["step"].max() + 1)
            marker = "." if len(logged) < 3 else None
            colour = f"C{number}"
            axes.plot(share, logged[metric], label=names[name], color=colour, marker=marker)
        axes.set(title=metric, xlabel="% of training")
        axes.grid(alpha=0.3)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=9)
    return figure


def accuracy_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Return every tested run's micro accuracy in % with its interval, best first.

    The interval is Wilson's of 95 %, for as many videos as their sources are worth.

    Args:
        scores: of `load_runs`.
    """
    lines = {}
    for name, answers in scores.dropna(subset="correct").groupby(level="run", sort=False):
        low, high = accuracy_interval(answers["correct"].to_numpy(), answers["group"])
        lines[name] = {
            "accuracy %": 100 * answers["correct"].mean(),
            "low": 100 * low,
            "high": 100 * high,
            "videos": len(answers),
            "sources": answers["group"].nunique(),
        }
    columns = ["accuracy %", "low", "high", "videos", "sources"]
    table = pd.DataFrame.from_dict(lines, orient="index", columns=columns).rename_axis("run")
    return table.sort_values("accuracy %", ascending=False)


def differences_table(runs: Runs) -> pd.DataFrame:
    """Return how two runs of one dataset differ on the videos that both were tested on.

    Points of accuracy, for every two runs; see `paired_difference`.
    """
    labelled = runs.scores.dropna(subset="correct")
    answers = {}
    for name, part in labelled.groupby(level="run", sort=False):
        answers[name] = part.droplevel("run")
    names = short_names(list(answers))
    dataset = runs.config.get("dataset", pd.Series(dtype=str))
    lines = []
    for first, second in combinations(answers, 2):
        both = answers[first].join(answers[second]["correct"].rename("second"), how="inner")
        if both.empty or dataset.get(first) != dataset.get(second):
            continue
        before = both["correct"].to_numpy()
        after = both["second"].to_numpy()
        found = paired_difference(before, after, both["group"])
        lines.append(
            {
                "from": names[first],
                "to": names[second],
                "difference": 100 * found.mean,
                "low": 100 * found.low,
                "high": 100 * found.high,
                "p": found.p,
                "significant": "yes" if found.significant else "no",
                "videos": len(both),
            }
        )
    columns = ["from", "to", "difference", "low", "high", "p", "significant", "videos"]
    return pd.DataFrame(lines, columns=columns)


def confused_pairs(answers: pd.DataFrame) -> pd.DataFrame:
    """Return which class is taken for which, most frequent first.

    `videos`, and their share of the true class in %.

    Args:
        answers: one run's part of `load_runs(...).scores`.
    """
    labelled = answers.dropna(subset="correct")
    wrong = labelled[labelled["correct"] == 0]
    pairs = wrong.groupby(["true", "predicted"]).size().rename("videos").reset_index()
    of_class = pairs["true"].map(labelled["true"].value_counts())
    pairs["% of class"] = 100 * pairs["videos"] / of_class
    return pairs.sort_values(["videos", "true"], ascending=[False, True], ignore_index=True)
