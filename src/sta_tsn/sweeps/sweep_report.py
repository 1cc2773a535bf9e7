"""What a sweep found: a table with the best trial first, and a picture of all trials."""

import re
import shlex
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from sta_tsn.artefacts import atomic, save_figure, write_json
from sta_tsn.evaluation.charts import plt

AXES_FILE = "axes.json"  # which parameters were drawn on a logarithmic scale
# Their order in the table: a stopped trial's value is an early one.
STATES = ("finished", "stopped", "running", "failed")
FEW_VALUES = 5  # so many are spread evenly on an axis


def report_sweep(
    trials: list[dict], metric: str, sign: int, log_scaled: list[str], folder: Path
) -> None:
    """Print the table and the best trial's arguments, and write table and picture.

    The files are `trials.csv`, `parallel_coordinates.png` and, for pictures drawn later, what
    `AXES_FILE` names.

    Args:
        trials: each with number, parameters, state, values of the metric (the last one counts, as
            in testing), seconds.
        metric: what they are judged by.
        sign: 1 where the metric is minimised, -1 where it is maximised.
        log_scaled: parameters with a logarithmic axis.
        folder: of the sweep.
    """
    table = trials_table(trials, metric, sign)
    with atomic(folder / "trials.csv") as path:
        table.to_csv(path)
    write_json(folder / AXES_FILE, {"log_scaled": log_scaled})
    searched = [name for name in trials[0]["parameters"] if table[name].astype(str).nunique() > 1]
    title = f"{folder.name}: {metric} of the last validation, best first"
    print_trials(table, [*searched, metric], title)
    with_value = table[np.isfinite(table[metric]) & (table.state != "failed")]
    if len(with_value):
        path = folder / "parallel_coordinates.png"
        parallel_coordinates(with_value, searched, metric, sign, log_scaled, path)
        print(f"Picture: {path.resolve()}")
        number = with_value.index[0]
        best = trials[number - 1]["parameters"]
        arguments = shlex.join(f"--{name}={value}" for name, value in best.items())
        print(f"Best: trial {number}, {arguments}")
    print(f"Table: {(folder / 'trials.csv').resolve()}", flush=True)


def trials_table(trials: list[dict], metric: str, sign: int) -> pd.DataFrame:
    """Return one row a trial, best first, indexed by the trial's number.

    The columns are parameters, metric, number of validations, state, minutes.
    """
    rows = []
    for trial in trials:
        values = trial["values"]
        row = {
            **trial["parameters"],
            metric: values[-1] if values else np.nan,
            "validations": len(values),
            "state": trial["state"],
            "minutes": round(trial["seconds"] / 60, 1),
        }
        rows.append(row)
    numbers = pd.Index([trial["number"] for trial in trials], name="trial")
    table = pd.DataFrame(rows, index=numbers)
    cost = (sign * table[metric]).fillna(np.inf)

    def rank(number: int) -> tuple:
        return STATES.index(table.state[number]), cost[number], number

    return table.loc[sorted(table.index, key=rank)]


def print_trials(table: pd.DataFrame, columns: list[str], title: str) -> None:
    """Print a table of trials, its columns' names broken so that five parameters fit into 80."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    printed = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("trial", *columns, "state,validation", "min"):
        name = re.sub(r"([._,])", r"\1\n", column)
        printed.add_column(name, overflow="fold", no_wrap=column.startswith("state"))
    for number, row in table.iterrows():
        cells = [str(number)]
        for value in row[columns]:
            cells.append(f"{value:.3g}" if isinstance(value, float) else str(value))
        printed.add_row(*cells, f"{row.state} {row.validations}", str(row.minutes))
    Console().print(printed)


def parallel_coordinates(
    table: pd.DataFrame,
    searched: list[str],
    metric: str,
    sign: int,
    log_scaled: list[str],
    path: Path,
) -> None:
    """Draw one axis per searched parameter and one for the metric, and one line per trial.

    A line has the metric's colour, is thicker for better, and dashed where the trial was stopped.
    """
    names = [*searched, metric]
    # A rounded one may be 0.
    log_scaled = [name for name in searched if name in log_scaled and table[name].min() > 0]
    axes_of = [axis_positions(table[name], name in log_scaled) for name in names]
    figure, axes = plt.subplots(figsize=(max(6, 1.8 * len(names)), 4.5))
    heights = np.array([heights for heights, _, _ in axes_of]).T  # (trials, axes)
    for column in range(len(searched)):
        if len(set(heights[:, column])) < len(table):  # the same value often: lines side by side
            heights[:, column] += np.linspace(0.03, -0.03, len(table))
    colours = _draw_lines(axes, table, heights, metric, sign)
    for column, (_, ticks, labels) in enumerate(axes_of):
        _draw_axis(axes, column, ticks, labels)
    titles = []
    for name in names:
        scale = "\n(log)" if name in log_scaled else ""
        titles.append(name.replace(".", ".\n") + scale)
    axes.set_xticks(range(len(names)), titles)
    axes.set_yticks([])
    axes.set_xlim(-0.1, len(names) - 0.6)
    axes.set_title(f"{len(table)} trials; thicker is better, dashed was stopped")
    figure.colorbar(colours, ax=axes, label=metric, fraction=0.03)
    axes.spines[:].set_visible(False)
    save_figure(figure, path)


def _draw_lines(
    axes: plt.Axes, table: pd.DataFrame, heights: np.ndarray, metric: str, sign: int
) -> plt.cm.ScalarMappable:
    """Draw the trials' lines through their heights (trials, axes), and return their colours."""
    values = table[metric]
    merit, _, _ = axis_positions(-sign * values, log=False)
    scale = plt.Normalize(values.min(), values.max())
    colours = plt.cm.ScalarMappable(scale, "viridis_r" if sign > 0 else "viridis")
    for row in np.argsort(merit):  # the best on top
        style = "-" if table.state.iloc[row] == "finished" else "--"
        colour = colours.to_rgba(values.iloc[row])
        width = 1 + 1.5 * merit[row]
        axes.plot(heights[row], style, color=colour, linewidth=width, alpha=0.85)
    return colours


def _draw_axis(axes: plt.Axes, column: int, ticks: list[float], labels: list[str]) -> None:
    """Draw an upright axis with its ticks' labels on a white ground, beside it."""
    axes.axvline(column, color="black", linewidth=0.8)
    beside = column + 0.03
    ground = {"color": "white", "alpha": 0.7, "pad": 0.5}
    for tick, label in zip(ticks, labels, strict=True):
        axes.text(beside, tick, label, fontsize=8, va="center", bbox=ground)


def axis_positions(values: pd.Series, log: bool) -> tuple[np.ndarray, list[float], list[str]]:
    """Place the values of one axis.

    Few values and those that are no numbers are spread evenly, each with a tick.

    Returns:
        The values' heights from 0 to 1, those of the ticks, and the ticks' labels.
    """
    is_number = pd.api.types.is_numeric_dtype(values) and values.dtype != bool
    if not is_number:
        names = [str(value) for value in values]
        distinct = list(dict.fromkeys(names))
        return _spread_evenly(names, distinct, labels=distinct)
    distinct = sorted(set(values))
    if len(distinct) <= FEW_VALUES and not log:
        return _spread_evenly(values, distinct, labels=[f"{value:.4g}" for value in distinct])
    scaled = values.to_numpy(float)
    if log:
        scaled = np.log(scaled)
    low = scaled.min()
    extent = scaled.max() - low
    ticks = np.linspace(0, 1, 5)
    shown = low + ticks * extent
    if log:
        shown = np.exp(shown)
    heights = (scaled - low) / (extent or 1)
    return heights, ticks.tolist(), [f"{value:.3g}" for value in shown]


def _spread_evenly(
    values: Iterable, distinct: list, labels: list[str]
) -> tuple[np.ndarray, list[float], list[str]]:
    """Place every distinct value at its rank, from 0 to 1; see `axis_positions`."""
    last = max(1, len(distinct) - 1)
    place_of = {}
    for rank, value in enumerate(distinct):
        place_of[value] = rank / last
    heights = np.array([place_of[value] for value in values])
    ticks = list(place_of.values())
    return heights, ticks, labels
