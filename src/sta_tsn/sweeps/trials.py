"""A sweep's trials in pictures: from the `trials.csv` that a sweep writes, or from W&B."""

import re
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sta_tsn.artefacts import read_json
from sta_tsn.errors import UserError
from sta_tsn.runs.layout import sweeps_folder
from sta_tsn.runs.wandb_runs import read_sweep
from sta_tsn.sweeps.sweep_report import AXES_FILE, trials_table

WANDB_SWEEP = re.compile(r"[\w.-]+/[\w.-]+/[\w.-]+")
# Columns that are neither a parameter nor the metric.
NEITHER = ("trial", "validations", "state", "minutes")


class Trials(NamedTuple):
    """Hold the trials of one sweep.

    Args:
        table: one line a trial, best first.
        parameters: its columns that differ between trials.
        metric: the column they are judged by.
        log_scaled: parameters that were drawn on a logarithmic scale, where the sweep's folder says
            so.
    """

    table: pd.DataFrame
    parameters: list[str]
    metric: str
    log_scaled: tuple[str, ...] = ()


def sweep_folders(runs: str | Path) -> list[Path]:
    """Return the sweeps below `runs/sweeps`, or beside the folder of a dataset's runs."""
    found = set()
    for root in (sweeps_folder(runs), sweeps_folder(Path(runs).absolute().parent)):
        found |= {file.parent for file in root.glob("*/trials.csv")}
    return sorted(folder for folder in found if ".old-" not in folder.name)


def read_trials(source: str | Path) -> Trials:
    """Read the trials of one sweep.

    Args:
        source: the folder that a sweep wrote, or `entity/project/sweep_id` of W&B, where no such
            folder exists.

    Raises:
        UserError: there is no table of trials, it cannot be read, or W&B cannot.
    """
    if WANDB_SWEEP.fullmatch(str(source)) and not Path(source).is_dir():
        trials, metric, sign = read_sweep(str(source))
        if not trials:
            raise UserError(
                f"The W&B sweep {source} has no runs yet; wandb agent {source} starts some."
            )
        table = trials_table(trials, metric, sign).reset_index()
        return Trials(table, _searched(table, list(trials[0]["parameters"])), metric)
    file = Path(source, "trials.csv")
    if not file.exists():
        raise UserError(
            f"No {file}: a sweep writes it when its trials are done (sta-tsn sweep <file>.yaml)."
        )
    try:
        table = pd.read_csv(file)
        *parameters, metric = (name for name in table.columns if name not in NEITHER)
        table[metric] = pd.to_numeric(table[metric])
    except ValueError as error:
        raise UserError(
            f"{file} is not a table of trials ({error}). Delete it; the same sweep writes it again."
        ) from error
    return Trials(table, _searched(table, parameters), metric, _log_scaled(Path(source)))


def _log_scaled(folder: Path) -> tuple[str, ...]:
    """Return what the sweep noted; nothing for a sweep of an older version, which noted none."""
    noted = read_json(folder / AXES_FILE)
    return tuple(noted.get("log_scaled", ()))


def _searched(table: pd.DataFrame, parameters: list[str]) -> list[str]:
    return [name for name in parameters if table[name].astype(str).nunique() > 1]


def trials_figure(trials: Trials) -> Figure:
    """Draw the metric against each parameter that was searched.

    There is one point a trial, hollow where it did not finish.
    """
    num_columns = max(1, len(trials.parameters))
    figure = Figure(figsize=(3.6 * num_columns, 3.6), layout="constrained")
    columns = figure.subplots(1, num_columns, squeeze=False, sharey=True)[0]
    for name, axes in zip(trials.parameters, columns, strict=False):
        _draw_against(trials, name, axes)
    figure.axes[0].set_ylabel(trials.metric)
    return figure


def _draw_against(trials: Trials, name: str, axes: Axes) -> None:
    values = trials.table[name]
    is_number = pd.api.types.is_numeric_dtype(values) and values.dtype != bool
    if not is_number:
        values = values.astype(str)
    reached = trials.table[trials.metric]
    finished = trials.table["state"] == "finished"
    axes.scatter(values[finished], reached[finished], color="#4477aa", label="finished")
    axes.scatter(
        values[~finished],
        reached[~finished],
        facecolors="none",
        edgecolors="#4477aa",
        label="not finished",
    )
    if is_number and values.min() > 0:
        spread = values.max() / values.min()
        if name in trials.log_scaled or spread > 20:
            axes.set_xscale("log")
    axes.set_xlabel(name)
    axes.grid(alpha=0.3)


def progress_figure(trials: Trials) -> Figure:
    """Draw the metric of every trial in the order they were started, and the best so far."""
    table = trials.table
    metric = trials.metric
    done = table.dropna(subset=metric).sort_values("trial")
    reached = done[metric]
    best = reached.cummin() if _smaller_is_better(table, metric) else reached.cummax()
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.plot(done["trial"], reached, "o", color="#4477aa")
    axes.step(done["trial"], best, where="post", color="#cc6677", label="best so far")
    axes.set_xlabel("trial")
    axes.set_ylabel(metric)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def _smaller_is_better(table: pd.DataFrame, metric: str) -> bool:
    """Tell by the order of the table, which has the best of the finished trials first."""
    finished = table[table["state"] == "finished"][metric].dropna()
    return finished.empty or finished.iloc[0] <= finished.iloc[-1]
