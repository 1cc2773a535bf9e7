"""A W&B project's runs, in the form that `run_folders` makes of folders; a W&B sweep's, as the trials of `make sweep`."""

from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pandas as pd

from sta_tsn.errors import UserError
from sta_tsn.evaluation import ScoreTable
from sta_tsn.runs.layout import SCORES_FILE, flat_settings
from sta_tsn.runs.reading import OneRun

if TYPE_CHECKING:
    import wandb


STATES = {
    "finished": "finished",
    "running": "running",
    "pending": "running",
    "preempting": "running",
    "preempted": "running",
}
STATES |= {
    "killed": "stopped"
}  # as Hyperband leaves a run; the rest, failed and crashed, are "failed"


def read_project(project: str) -> Iterator[OneRun]:
    """Every run of `entity/project`; the API asks for a login.

    Raises:
        UserError: nobody is logged in, no such project, or W&B is out of reach.
    """
    with _reading(
        f"There is no folder {project} here, and as a W&B project it cannot be read"
    ) as api:
        for run in api.runs(project):
            yield read_run(run)


def read_sweep(sweep: str) -> tuple[list[dict], str, int]:
    """The runs of `entity/project/sweep_id` in the order they were started, as trials of `make sweep`; the metric; 1 where it is
    minimised, -1 where it is maximised.

    Raises:
        UserError: nobody is logged in, no such sweep, no metric in its file, or W&B is out of reach.
    """
    with _reading(f"There is no folder {sweep} here, and as a W&B sweep it cannot be read") as api:
        found = api.sweep(sweep)
        if not found.config.get("metric"):
            raise UserError(f"The W&B sweep {sweep} names no metric to judge its trials by.")
        metric, names = found.config["metric"]["name"], found.config.get("parameters", {})
        trials = [
            {
                "number": number,
                "parameters": {name: run.config.get(name) for name in names},
                "state": STATES.get(run.state, "failed"),
                "values": [
                    float(row[metric]) for row in run.scan_history() if row.get(metric) is not None
                ],
                "seconds": run.summary.get("_runtime", 0),
            }
            for number, run in enumerate(found.runs, 1)
        ]
    return trials, metric, -1 if found.config["metric"].get("goal") == "maximize" else 1


@contextmanager
def _reading(doubt: str) -> Iterator["wandb.Api"]:
    """W&B's API; what goes wrong with it is said after the `doubt`."""
    import wandb
    from wandb.sdk.lib.service.service_connection import (
        WandbApiFailedError,  # what sweeps and histories raise as it is
    )

    try:
        if not wandb.login(prompt=False):
            raise UserError(f"{doubt}: nobody is logged in. `wandb login`, or give a folder.")
        yield wandb.Api()
    except (wandb.Error, WandbApiFailedError, ValueError, OSError) as error:
        raise UserError(f"{doubt}: {' '.join(str(error).split())}") from error


def read_run(run) -> OneRun:
    """One `wandb.apis.public.Run`. Left out are W&B's own names, which begin with _, and media."""
    found = OneRun(run.name, f"{'/'.join(run.path)}")
    found.config = flat_settings(dict(run.config))
    if not found.config:
        found.complaints.append("no config: its settings are unknown")
    found.summary = {
        name: value
        for name, value in dict(run.summary).items()
        if not name.startswith("_") and _is_plain(value)
    }
    rows = [
        {
            name: value
            for name, value in row.items()
            if not name.startswith("_") and _is_plain(value)
        }
        for row in run.scan_history()
    ]
    rows = {
        (row.get("trainer/global_step"), *sorted(row)): row for row in rows
    }.values()  # a killed process logged steps that came again
    found.history = pd.DataFrame(
        [row for row in rows if row.keys() - {"trainer/global_step", "epoch"}]
    ).rename(columns={"trainer/global_step": "step"})
    if found.history.empty:
        found.complaints.append("no history")
    with TemporaryDirectory() as folder:
        for file in run.files(names=[SCORES_FILE]):
            file.download(root=folder).close()
            found.table = ScoreTable.load(f"{folder}/{SCORES_FILE}")
    if found.table is None and run.state != "running":
        found.complaints.append("no scores.npz: not tested, or logged by an older version")
    return found


def _is_plain(value) -> bool:
    return isinstance(value, int | float | str | bool)
