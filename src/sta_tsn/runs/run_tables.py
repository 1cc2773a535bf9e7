"""Runs as pandas tables, whether they lie in folders or at W&B: what notebooks and scripts read."""

import os
import re
import warnings
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from sta_tsn.errors import UserError
from sta_tsn.evaluation import ScoreTable
from sta_tsn.evaluation.metrics import is_right
from sta_tsn.runs.reading import OneRun, read_folder, run_folders
from sta_tsn.runs.wandb_runs import read_project

PROJECT = re.compile(r"[\w.-]+/[\w.-]+")


class Runs(NamedTuple):
    """Four tables; `run` is `<dataset>/split<k>/<model>/<modality>/seed<s>/<stage>`.

    Attributes:
        config: index run; `place` (its folder), dataset, split, model, modality, seed, stage,
            commit, and every setting under its name on the command line (`model.lr`).
        summary: index run; the test's measures (in %), the last value of everything logged,
            minutes, memory.
        history: index run, a line per logged step with `step`, `epoch` and what was logged.
        scores: index (run, video); `group` (source video), `true` and `predicted` class, `correct`
            (1, 0, NaN for a video without a class), `p_true`, `p_predicted`, `rank` of the true
            class.
    """

    config: pd.DataFrame
    summary: pd.DataFrame
    history: pd.DataFrame
    scores: pd.DataFrame


def load_runs(source: str | os.PathLike) -> Runs:
    """Read every run below a folder, or of a W&B project, as far as each is there.

    A warning names what is not. Runs that were moved aside (`….old-<time>`) are left out, unless
    `source` is one.

    Args:
        source: a folder (`runs`, `runs/demo`, one run's folder), or `entity/project` of W&B, where
            no such folder exists.

    Raises:
        UserError: there is no run, or W&B cannot be read.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        runs = [read_folder(path) for path in run_folders(folder)]
        remedy = "make train makes some; a run is a folder with run.json, metrics.csv, scores.npz."
    elif PROJECT.fullmatch(str(source)):
        runs = list(read_project(str(source)))
        remedy = "`wandb sync` sends runs that were made offline."
    elif folder.exists():
        raise UserError(
            f"{folder.absolute()} is a file. Give the folder of the runs, or entity/project of W&B."
        )
    else:
        raise UserError(
            f"No folder {folder.absolute()}. Give the folder of the runs, or entity/project of W&B."
        )
    if not runs:
        raise UserError(f"No runs in {source}: {remedy}")
    for run in runs:
        if run.complaints:
            warnings.warn(f"{run.place}: {'; '.join(run.complaints)}.", stacklevel=2)
    return as_tables(runs)


def as_tables(runs: list[OneRun]) -> Runs:
    """Return the four tables; a name that occurs twice is told apart by the run's place."""
    names: dict[str, OneRun] = {}
    for run in runs:
        name = run.name
        if name in names:
            name = f"{run.name} ({run.place})"
            warnings.warn(
                f"Two runs are called {run.name}; the second is {name!r} in the tables.",
                stacklevel=3,
            )
        names[name] = run
    index = pd.Index(names, name="run")
    settings = [{"place": run.place, **run.config} for run in names.values()]
    config = pd.DataFrame(settings, index=index)
    summary = pd.DataFrame([run.summary for run in names.values()], index=index)
    history = pd.DataFrame(columns=["step"], index=index[:0])
    histories = {name: run.history for name, run in names.items() if len(run.history)}
    if histories:
        history = pd.concat(histories, names=["run", None]).droplevel(1)
    lines = pd.DataFrame(columns=["run", "video", *SCORE_COLUMNS])
    scores = [score_lines(run.table).assign(run=name) for name, run in names.items() if run.table]
    if scores:
        lines = pd.concat(scores)
    return Runs(config, summary, history, lines.set_index(["run", "video"]))


SCORE_COLUMNS = ["group", "true", "predicted", "correct", "p_true", "p_predicted", "rank"]


def score_lines(table: ScoreTable) -> pd.DataFrame:
    """Return a line per test video: `video` and `SCORE_COLUMNS`.

    With several labels, `p_true` is their sum and `rank` that of the best.
    """
    shares = table.scores.double().softmax(1)
    labels = table.labels.bool()
    labelled = labels.any(1)
    best_true = shares.masked_fill(~labels, -1).amax(1, keepdim=True)
    true_classes = []
    for row in labels:
        true_classes.append(" + ".join(table.classes[k] for k in row.nonzero().flatten().tolist()))
    lines = {
        "group": table.groups,
        "true": true_classes,
        "predicted": [table.classes[k] for k in shares.argmax(1)],
        "correct": is_right(table.scores, table.labels),
        "p_true": shares.masked_fill(~labels, 0).sum(1).masked_fill(~labelled, float("nan")),
        "p_predicted": shares.amax(1),
        "rank": ((shares > best_true).sum(1) + 1.0).masked_fill(~labelled, float("nan")),
    }
    return pd.DataFrame({"video": table.ids, **lines}, columns=["video", *SCORE_COLUMNS])
