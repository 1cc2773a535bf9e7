"""A sweep's trials in pictures: from the `trials.csv` that `make sweep` writes, or from W&B."""

import re
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from sta_tsn.artefacts import read_json
from sta_tsn.errors import UserError
from sta_tsn.runs.layout import sweeps_folder
from sta_tsn.runs.wandb_runs import read_sweep
from sta_tsn.sweeps.sweep_report import AXES_FILE, trials_table

WANDB_SWEEP = re.compile(r"[\w.-]+/[\w.-]+/[\w.-]+")
NEITHER = (
    "trial",
    "validations",
    "state",
    "minutes",
)  # columns that are neither a parameter nor the metric


class Trials(NamedTuple):
    """Hold the trials of one sweep.

    Attributes:
        table: one line a trial, best first.
        parameters: its columns that differ between trials.
        metric: the column they are judged by.
        log_scaled: parameters that were drawn on a logarithmic scale, where the sweep's folder says so.
    """

    table: pd.DataFrame
    parameters: list[str]
    metric: str
    log_scaled: tuple[str, ...] = ()


def sweep_folders(runs: str | Path) -> list[Path]:
    """Sweeps below `runs/sweeps`, or beside the folder of a dataset's runs."""
    roots = [sweeps_folder(runs), sweeps_folder(Path(runs).absolute().parent)]
    return sorted(
        {
            file.parent
            for root in roots
            for file in root.glob("*/trials.csv")
            if ".old-" not in file.parent.name
        }
    )


def read_trials(source: str | Path) -> Trials:
    """The trials of one sweep.

    Args:
        source: the folder that `make sweep` wrote, or `entity/project/sweep_id` of W&B, where no such folder exists.

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
            f"No {file}: make sweep SWEEP=experiments/sweeps/<name>.yaml writes it when its trials are done."
        )
    try:
        table = pd.read_csv(file)
        *parameters, metric = (name for name in table.columns if name not in NEITHER)
        table[metric] = pd.to_numeric(table[metric])
    except ValueError as error:
        raise UserError(
            f"{file} is not a table of trials ({error}). Delete it; the same make sweep writes it again."
        ) from error
    return Trials(table, _searched(table, parameters), metric, _log_scaled(Path(source)))


def _log_scaled(folder: Path) -> tuple[str, ...]:
    """Return what the sweep noted; nothing for a sweep of an older version, which noted none."""
    noted = read_json(folder / AXES_FILE)
    return tuple(noted.get("log_scaled", ()))


def _searched(table: pd.DataFrame, parameters: list[str]) -> list[str]:
    return [name for name in parameters if table[name].astype(str).nunique() > 1]


def trials_figure(trials: Trials) -> Figure:
    """The metric against each parameter that was searched, one point a trial; hollow where it did not finish."""
    table, parameters, metric, log_scaled = trials
    figure = Figure(figsize=(3.6 * max(1, len(parameters)), 3.6), layout="constrained")
    for name, axes in zip(
        parameters,
        figure.subplots(1, max(1, len(parameters)), squeeze=False, sharey=True)[0],
        strict=False,
    ):
        numeric = pd.api.types.is_numeric_dtype(table[name]) and table[name].dtype != bool
        values = table[name] if numeric else table[name].astype(str)
        finished = table["state"] == "finished"
        axes.scatter(values[finished], table[metric][finished], color="#4477aa", label="finished")
        axes.scatter(
            values[~finished],
            table[metric][~finished],
            facecolors="none",
            edgecolors="#4477aa",
            label="not finished",
        )
        positive = numeric and values.min() > 0
        if positive and (name in log_scaled or values.max() / values.min() > 20):
            axes.set_xscale("log")
        axes.set_xlabel(name)
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel(metric)
    return figure


def progress_figure(trials: Trials) -> Figure:
    """The metric of every trial in the order they were started, and the best so far."""
    table = trials.table
    metric = trials.metric
    done = table.dropna(subset=metric).sort_values("trial")
    best = done[metric].cummin() if _smaller_is_better(table, metric) else done[metric].cummax()
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.plot(done["trial"], done[metric], "o", color="#4477aa")
    axes.step(done["trial"], best, where="post", color="#cc6677", label="best so far")
    axes.set(xlabel="trial", ylabel=metric)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def _smaller_is_better(table: pd.DataFrame, metric: str) -> bool:
    """The table has the best of the finished trials first."""
    finished = table[table["state"] == "finished"][metric].dropna()
    return finished.empty or finished.iloc[0] <= finished.iloc[-1]
