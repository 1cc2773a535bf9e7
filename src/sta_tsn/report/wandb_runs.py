"""A W&B project's runs, in the form that `run_folders` makes of folders."""

from collections.abc import Iterator
from tempfile import TemporaryDirectory

import pandas as pd

from sta_tsn.errors import UserError
from sta_tsn.evaluation import ScoreTable
from sta_tsn.report.run_folders import OneRun
from sta_tsn.report.run_names import flat_settings


def read_project(project: str) -> Iterator[OneRun]:
    """Every run of `entity/project`; the API asks for a login.

    Raises:
        UserError: nobody is logged in, no such project, or W&B is out of reach.
    """
    import wandb

    doubt = f"There is no folder {project} here, and as a W&B project it cannot be read"
    try:
        if not wandb.login(prompt=False):
            raise UserError(f"{doubt}: nobody is logged in. `wandb login`, or give the folder of the runs.")
        for run in wandb.Api().runs(project):
            yield read_run(run)
    except (wandb.Error, ValueError, OSError) as error:
        raise UserError(f"{doubt}: {' '.join(str(error).split())}") from error


def read_run(run) -> OneRun:
    """One `wandb.apis.public.Run`. Left out are W&B's own names, which begin with _, and media."""
    found = OneRun(run.name, f"{'/'.join(run.path)}")
    found.config = flat_settings(dict(run.config))
    if not found.config:
        found.complaints.append("no config: its settings are unknown")
    found.summary = {name: value for name, value in dict(run.summary).items() if not name.startswith("_") and _is_plain(value)}
    rows = [{name: value for name, value in row.items() if not name.startswith("_") and _is_plain(value)} for row in run.scan_history()]
    found.history = pd.DataFrame([row for row in rows if row.keys() - {"trainer/global_step", "epoch"}]).rename(
        columns={"trainer/global_step": "step"}
    )
    if found.history.empty:
        found.complaints.append("no history")
    with TemporaryDirectory() as folder:
        for file in run.files(names=["scores.npz"]):
            file.download(root=folder).close()
            found.table = ScoreTable.load(f"{folder}/scores.npz")
    if found.table is None and run.state != "running":
        found.complaints.append("no scores.npz: not tested, or logged by an older version")
    return found


def _is_plain(value) -> bool:
    return isinstance(value, int | float | str | bool)
