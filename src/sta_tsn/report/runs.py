"""Runs as pandas tables, whether they lie in folders or at W&B: the one reader that notebooks and scripts use."""

import json
import os
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import yaml

from sta_tsn.errors import UserError
from sta_tsn.evaluation import ScoreTable
from sta_tsn.evaluation.metrics import is_right
from sta_tsn.report.run_names import flat_settings, run_identity, run_name

RUN_FILES = {"run.json", "metrics.csv", "scores.npz"}
PROJECT = re.compile(r"[\w.-]+/[\w.-]+")


class Runs(NamedTuple):
    """Four tables; `run` is `<dataset>/split<k>/<model>/<modality>/seed<s>/<stage>`.

    config: index run; `place` (its folder), dataset, split, model, modality, seed, stage, commit, and every setting under its name
    on the command line (`model.lr`). summary: index run; the test's measures (in %), the last value of everything logged, minutes, memory.
    history: index run, a line per logged step with `step`, `epoch` and what was logged. scores: index (run, video);
    `true` and `predicted` class, `correct` (1, 0, NaN for a video without a class), `p_true`, `p_predicted`, `rank` of the true class.
    """

    config: pd.DataFrame
    summary: pd.DataFrame
    history: pd.DataFrame
    scores: pd.DataFrame


@dataclass
class OneRun:
    """A run as far as it could be read; `complaints` say what could not."""

    name: str
    place: str
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    history: pd.DataFrame = field(default_factory=pd.DataFrame)
    table: ScoreTable | None = None
    complaints: list[str] = field(default_factory=list)


def load_runs(source: str | os.PathLike) -> Runs:
    """Read every run below a folder, or of a W&B project, as far as each is there; a warning names what is not.

    Runs that were moved aside (`….old-<time>`) are left out, unless `source` is one.

    Args:
        source: a folder (`runs`, `runs/demo`, one run's folder), or `entity/project` of W&B, where no such folder exists.

    Raises:
        UserError: there is no run, or W&B cannot be read.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        runs = [read_folder(path) for path in run_folders(folder)]
        remedy = "make train makes some; a run is a folder with run.json, metrics.csv, scores.npz."
    elif PROJECT.fullmatch(str(source)):
        from sta_tsn.report.wandb_runs import read_project

        runs = list(read_project(str(source)))
        remedy = "`wandb sync` sends runs that were made offline."
    elif folder.exists():
        raise UserError(f"{folder.absolute()} is a file. Give the folder of the runs, or entity/project of W&B.")
    else:
        raise UserError(f"No folder {folder.absolute()}. Give the folder of the runs, or entity/project of W&B.")
    if not runs:
        raise UserError(f"No runs in {source}: {remedy}")
    for run in runs:
        if run.complaints:
            warnings.warn(f"{run.place}: {'; '.join(run.complaints)}.", stacklevel=2)
    return as_tables(runs)


def run_folders(root: Path) -> Iterator[Path]:
    """Run folders below `root` (or itself), in order; nothing below a run is searched."""
    for path, folders, files in os.walk(root):
        if RUN_FILES & set(files):
            folders.clear()
            yield Path(path)
        folders[:] = sorted(name for name in folders if ".old-" not in name and not name.startswith("."))


def one_folder(root: str | os.PathLike, stage: str) -> Path:
    """The last tested RGB run of a stage below a folder; of any modality where there is none of RGB.

    Raises:
        UserError: there is none.
    """
    tested = [path for path in run_folders(Path(root).expanduser()) if path.name == stage and (path / "scores.npz").exists()]
    if not tested:
        raise UserError(f"No tested run of stage {stage} below {Path(root).absolute()}: make train makes one.")
    return max(tested, key=lambda path: (run_identity(path).get("modality") == "rgb", path))


def read_folder(path: Path) -> OneRun:
    run = OneRun(run_name(path), str(path))
    about = _read(run, path / "run.json", lambda file: _mapping(json.loads(file.read_text())), "what made it is unknown", {})
    settings = _read(
        run, path / "config.yaml", lambda file: flat_settings(_mapping(yaml.safe_load(file.read_text()))), "its settings are unknown", {}
    )
    run.history = _read(run, path / "metrics.csv", lambda file: _read_metrics(file, run.complaints), "no history", pd.DataFrame())
    measures: dict = {}
    exists = (path / "scores.npz").exists()
    is_trial = about.get("tested") is False or "--test=false" in about.get("arguments", [])  # of a sweep: not tested
    if exists or not is_trial:
        loss = "not tested (the command that trained it ends with testing)"
        if exists:
            loss = "its scores are unknown; delete the file, and the command that made the run tests it again"
        run.table, measures = _read(run, path / "scores.npz", read_scores, loss, (None, {}))
    run.config = {**run_identity(path), "commit": about.get("commit"), **flat_settings(settings)}
    last = run.history.ffill().iloc[-1].dropna().to_dict() if len(run.history) else {}
    run.summary = {**measures, **last, **costs(about)}
    return run


def read_scores(file: Path) -> tuple[ScoreTable, dict]:
    """A score table with its measures."""
    table = ScoreTable.load(file)
    return table, table.summary


def costs(about: dict) -> dict[str, float]:
    """Minutes and memory of a run.json."""
    seconds, memory = about.get("seconds"), about.get("peak_memory_gb")
    minutes = {"minutes": round(sum(seconds.values()) / 60, 1)} if isinstance(seconds, dict) else {}
    return minutes | ({"peak memory GB": memory} if memory else {})


def _read(run: OneRun, file: Path, read: Callable[[Path], Any], loss: str, default: Any) -> Any:
    """What `read` makes of the file; where that fails, whatever a damaged file raises, a complaint and the default."""
    if not file.exists():
        run.complaints.append(f"no {file.name}: {loss}")
        return default
    try:
        return read(file)
    except Exception as error:
        run.complaints.append(f"{file.name} cannot be read ({' '.join(str(error).split())}): {loss}")
        return default


def _mapping(content: Any) -> dict:
    if not isinstance(content, dict):
        raise ValueError("it holds no names and values")
    return content


def _read_metrics(file: Path, complaints: list[str]) -> pd.DataFrame:
    whole, end, cut = file.read_text().rpartition("\n")
    if cut:
        complaints.append(f"{file.name} ends in the middle of a line, which is left out")
    table = pd.read_csv(StringIO(whole + end)).apply(pd.to_numeric, errors="coerce")
    if "step" not in table or table.empty:
        raise ValueError("no logged steps")
    return table


def as_tables(runs: list[OneRun]) -> Runs:
    """The four tables; a name that occurs twice is told apart by the run's place."""
    names: dict[str, OneRun] = {}
    for run in runs:
        name = run.name
        if name in names:
            name = f"{run.name} ({run.place})"
            warnings.warn(f"Two runs are called {run.name}; the second is {name!r} in the tables.", stacklevel=3)
        names[name] = run
    index = pd.Index(names, name="run")
    config = pd.DataFrame([{"place": run.place, **run.config} for run in names.values()], index=index)
    summary = pd.DataFrame([run.summary for run in names.values()], index=index)
    histories = {name: run.history for name, run in names.items() if len(run.history)}
    history = pd.concat(histories, names=["run", None]).droplevel(1) if histories else pd.DataFrame(columns=["step"], index=index[:0])
    scores = [score_lines(run.table).assign(run=name) for name, run in names.items() if run.table]
    lines = pd.concat(scores) if scores else pd.DataFrame(columns=["run", "video", *SCORE_COLUMNS])
    return Runs(config, summary, history, lines.set_index(["run", "video"]))


SCORE_COLUMNS = ["true", "predicted", "correct", "p_true", "p_predicted", "rank"]


def score_lines(table: ScoreTable) -> pd.DataFrame:
    """One line per test video: `video` and `SCORE_COLUMNS`. With several labels, p_true is their sum and rank that of the best."""
    shares, labels = table.scores.double().softmax(1), table.labels.bool()
    labelled = labels.any(1)
    best_true = shares.masked_fill(~labels, -1).amax(1, keepdim=True)
    lines = {
        "true": [" + ".join(name for name, own in zip(table.classes, row, strict=True) if own) for row in labels.tolist()],
        "predicted": [table.classes[k] for k in shares.argmax(1)],
        "correct": is_right(table.scores, table.labels),
        "p_true": (shares * labels).sum(1).masked_fill(~labelled, float("nan")),
        "p_predicted": shares.amax(1),
        "rank": ((shares > best_true).sum(1) + 1.0).masked_fill(~labelled, float("nan")),
    }
    return pd.DataFrame({"video": table.ids, **lines}, columns=["video", *SCORE_COLUMNS])
