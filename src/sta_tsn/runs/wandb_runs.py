"""A W&B project's runs, in the form that folders are read to; a W&B sweep's, as trials."""

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


# What W&B calls a trial's state; the rest, failed and crashed, are "failed".
STATES = {
    "finished": "finished",
    "running": "running",
    "pending": "running",
    "preempting": "running",
    "preempted": "running",
    "killed": "stopped",  # as Hyperband leaves a run
}
STEP = "trainer/global_step"


def read_project(project: str) -> Iterator[OneRun]:
    """Yield every run of `entity/project`; the API asks for a login.

    Raises:
        UserError: nobody is logged in, no such project, or W&B is out of reach.
    """
    with _reading(
        f"There is no folder {project} here, and as a W&B project it cannot be read"
    ) as api:
        for run in api.runs(project):
            yield read_run(run)


def read_sweep(sweep: str) -> tuple[list[dict], str, int]:
    """Return the runs of a sweep as `sta-tsn sweep` keeps trials, their metric, and its sign.

    The trials are in the order in which they were started; the sign is 1 where the metric is
    minimised, -1 where it is maximised.

    Args:
        sweep: `entity/project/sweep_id`.

    Raises:
        UserError: nobody is logged in, no such sweep or metric, or W&B is out of reach.
    """
    with _reading(f"There is no folder {sweep} here, and as a W&B sweep it cannot be read") as api:
        found = api.sweep(sweep)
        if not found.config.get("metric"):
            raise UserError(f"The W&B sweep {sweep} names no metric to judge its trials by.")
        metric = found.config["metric"]["name"]
        sign = -1 if found.config["metric"].get("goal") == "maximize" else 1
        names = found.config.get("parameters", {})
        trials = []
        for number, run in enumerate(found.runs, 1):
            logged = [row.get(metric) for row in run.scan_history()]
            trial = {
                "number": number,
                "parameters": {name: run.config.get(name) for name in names},
                "state": STATES.get(run.state, "failed"),
                "values": [float(value) for value in logged if value is not None],
                "seconds": run.summary.get("_runtime", 0),
            }
            trials.append(trial)
    return trials, metric, sign


@contextmanager
def _reading(doubt: str) -> Iterator["wandb.Api"]:
    """Give W&B's API; what goes wrong with it is said after the `doubt`."""
    import wandb

    # What sweeps and histories raise as it is.
    from wandb.sdk.lib.service.service_connection import WandbApiFailedError

    try:
        if not wandb.login(prompt=False):
            raise UserError(f"{doubt}: nobody is logged in. `wandb login`, or give a folder.")
        yield wandb.Api()
    except (wandb.Error, WandbApiFailedError, ValueError, OSError) as error:
        raise UserError(f"{doubt}: {' '.join(str(error).split())}") from error


def read_run(run) -> OneRun:
    """Return what W&B has of a `wandb.apis.public.Run`, without W&B's own names and media."""
    found = OneRun(run.name, "/".join(run.path))
    found.config = flat_settings(dict(run.config))
    if not found.config:
        found.complaints.append("no config: its settings are unknown")
    found.summary = _own(dict(run.summary))
    found.history = _history(run)
    if found.history.empty:
        found.complaints.append("no history")
    with TemporaryDirectory() as folder:
        for file in run.files(names=[SCORES_FILE]):
            file.download(root=folder).close()
            found.table = ScoreTable.load(f"{folder}/{SCORES_FILE}")
    if found.table is None and run.state != "running":
        found.complaints.append("no scores.npz: not tested, or logged by an older version")
    return found


def _history(run) -> pd.DataFrame:
    """Return a line per logged step; those that came again after a kill count once."""
    rows: dict[tuple, dict] = {}
    for logged in run.scan_history():
        row = _own(logged)
        if row.keys() - {STEP, "epoch"}:
            rows[row.get(STEP), *sorted(row)] = row
    return pd.DataFrame(list(rows.values())).rename(columns={STEP: "step"})


def _own(values: dict) -> dict:
    """Return what the suite logged: no name of W&B's, which begin with _, and no media."""
    found = {}
    for name, value in values.items():
        if not name.startswith("_") and isinstance(value, int | float | str | bool):
            found[name] = value
    return found
