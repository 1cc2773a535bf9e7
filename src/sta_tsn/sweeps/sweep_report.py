"""What a sweep found: a table with the best trial first, and a picture of all trials."""

import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd

from sta_tsn.artefacts import atomic, save_figure, write_json
from sta_tsn.evaluation.charts import plt

AXES_FILE = "axes.json"  # which parameters were drawn on a logarithmic scale
STATES = (
    "finished",
    "stopped",
    "running",
    "failed",
)  # the order in the table: a stopped trial's value is an early one


def report_sweep(
    trials: list[dict], metric: str, sign: int, log_scaled: list[str], folder: Path
) -> None:
    """Print the table and the best trial's arguments; write `trials.csv` and `parallel_coordinates.png`.

    Args:
        trials: each with number, parameters, state, values of the metric (the last one counts, as in testing), seconds.
        sign: 1 where the metric is minimised, -1 where it is maximised.
        log_scaled: parameters with a logarithmic axis.
    """
    table = trials_table(trials, metric, sign)
    with atomic(folder / "trials.csv") as path:
        table.to_csv(path)
    write_json(folder / AXES_FILE, {"log_scaled": log_scaled})
    searched = [name for name in trials[0]["parameters"] if table[name].astype(str).nunique() > 1]
    print_trials(
        table, [*searched, metric], f"{folder.name}: {metric} of the last validation, best first"
    )
    with_value = table[np.isfinite(table[metric]) & (table.state != "failed")]
    if len(with_value):
        path = folder / "parallel_coordinates.png"
        parallel_coordinates(with_value, searched, metric, sign, log_scaled, path)
        print(f"Picture: {path.resolve()}")
        best = trials[with_value.index[0] - 1]["parameters"]
        print(
            f"Best: trial {with_value.index[0]}, {shlex.join(f'--{name}={value}' for name, value in best.items())}"
        )
    print(f"Table: {(folder / 'trials.csv').resolve()}", flush=True)


def trials_table(trials: list[dict], metric: str, sign: int) -> pd.DataFrame:
    """One row a trial, indexed by its number: parameters, metric, number of validations, state, minutes."""
    rows = [
        {
            **trial["parameters"],
            metric: trial["values"][-1] if trial["values"] else np.nan,
            "validations": len(trial["values"]),
            "state": trial["state"],
            "minutes": round(trial["seconds"] / 60, 1),
        }
        for trial in trials
    ]
    table = pd.DataFrame(rows, index=pd.Index([trial["number"] for trial in trials], name="trial"))
    cost = (sign * table[metric]).fillna(np.inf)
    order = sorted(
        table.index, key=lambda number: (STATES.index(table.state[number]), cost[number], number)
    )
    return table.loc[order]


def print_trials(table: pd.DataFrame, columns: list[str], title: str) -> None:
    """Names are broken, so that five parameters fit into 80 columns."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    printed = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("trial", *columns, "state,validation", "min"):
        printed.add_column(
            re.sub(r"([._,])", r"\1\n", column), overflow="fold", no_wrap=column.startswith("state")
        )
    for number, row in table.iterrows():
        values = [
            f"{value:.3g}" if isinstance(value, float) else str(value) for value in row[columns]
        ]
        printed.add_row(str(number), *values, f"{row.state} {row.validations}", str(row.minutes))
    Console().print(printed)


def parallel_coordinates(
    table: pd.DataFrame,
    searched: list[str],
    metric: str,
    sign: int,
    log_scaled: list[str],
    path: Path,
) -> None:
    """One axis per searched parameter and one for the metric, one line per trial in the metric's colour, thicker for better;
    dashed where the trial was stopped."""
    names = [*searched, metric]
    log_scaled = [
        name for name in searched if name in log_scaled and table[name].min() > 0
    ]  # a rounded one may be 0
    axes_of = [axis_positions(table[name], name in log_scaled) for name in names]
    merit = axis_positions(-sign * table[metric], False)[0]
    figure, axes = plt.subplots(figsize=(max(6, 1.8 * len(names)), 4.5))
    heights = np.array([heights for heights, _, _ in axes_of]).T  # (trials, axes)
    for column in range(len(searched)):
        if len(set(heights[:, column])) < len(table):  # the same value often: lines side by side
            heights[:, column] += np.linspace(0.03, -0.03, len(table))
    colours = plt.cm.ScalarMappable(
        plt.Normalize(table[metric].min(), table[metric].max()),
        "viridis_r" if sign > 0 else "viridis",
    )
    for row in np.argsort(merit):  # the best on top
        style = "-" if table.state.iloc[row] == "finished" else "--"
        axes.plot(
            heights[row],
            style,
            color=colours.to_rgba(table[metric].iloc[row]),
            linewidth=1 + 1.5 * merit[row],
            alpha=0.85,
        )
    for column, (_, ticks, labels) in enumerate(axes_of):
        axes.axvline(column, color="black", linewidth=0.8)
        for tick, label in zip(ticks, labels, strict=True):
            axes.text(
                column + 0.03,
                tick,
                label,
                fontsize=8,
                va="center",
                bbox={"color": "white", "alpha": 0.7, "pad": 0.5},
            )
    axes.set_xticks(
        range(len(names)),
        [name.replace(".", ".\n") + ("\n(log)" if name in log_scaled else "") for name in names],
    )
    axes.set(
        yticks=[],
        xlim=(-0.1, len(names) - 0.6),
        title=f"{len(table)} trials; thicker is better, dashed was stopped",
    )
    figure.colorbar(colours, ax=axes, label=metric, fraction=0.03)
    axes.spines[:].set_visible(False)
    save_figure(figure, path)


def axis_positions(values: pd.Series, log: bool) -> tuple[np.ndarray, list[float], list[str]]:
    """Heights from 0 to 1 of the values of one axis; its ticks and their labels. Few values and those that are no
    numbers are spread evenly, each with a tick."""
    numbers = pd.api.types.is_numeric_dtype(values) and values.dtype != bool
    distinct = (
        sorted(set(values)) if numbers else list(dict.fromkeys(str(value) for value in values))
    )
    if not numbers or (len(distinct) <= 5 and not log):
        places = {value: index / max(1, len(distinct) - 1) for index, value in enumerate(distinct)}
        labels = [f"{value:.4g}" if numbers else value for value in distinct]
        return (
            np.array([places[value if numbers else str(value)] for value in values]),
            list(places.values()),
            labels,
        )
    scaled = np.log(values.to_numpy(float)) if log else values.to_numpy(float)
    low, high = scaled.min(), scaled.max()
    ticks = np.linspace(0, 1, 5)
    shown = low + ticks * (high - low)
    return (
        (scaled - low) / ((high - low) or 1),
        ticks.tolist(),
        [f"{value:.3g}" for value in (np.exp(shown) if log else shown)],
    )
