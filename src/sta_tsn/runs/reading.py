"""Run folders, read as far as each is there: half-written, older and damaged ones too."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from sta_tsn.errors import UserError
from sta_tsn.evaluation import ScoreTable
from sta_tsn.runs.layout import (
    ABOUT_FILE,
    CONFIG_FILE,
    METRICS_FILE,
    SCORES_FILE,
    flat_settings,
    run_identity,
    run_name,
)

RUN_FILES = {ABOUT_FILE, METRICS_FILE, SCORES_FILE}


@dataclass
class OneRun:
    """A run as far as it could be read.

    Attributes:
        name: see `run_name`.
        place: its folder, or its path at W&B.
        config: what it is and its settings, one value a name.
        summary: measures of the test in %, last values of what was logged, cost.
        history: a line per logged step.
        table: its score table.
        complaints: what could not be read, and what is lost by that.
    """

    name: str
    place: str
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    history: pd.DataFrame = field(default_factory=pd.DataFrame)
    table: ScoreTable | None = None
    complaints: list[str] = field(default_factory=list)


def run_folders(root: Path) -> Iterator[Path]:
    """Yield the run folders below `root` (or itself), in order; nothing below a run is searched."""
    for path, folders, files in os.walk(root):
        if RUN_FILES & set(files):
            folders.clear()
            yield Path(path)
        kept = [name for name in folders if ".old-" not in name and not name.startswith(".")]
        folders[:] = sorted(kept)  # os.walk goes on into what is left here


def one_folder(root: str | os.PathLike, stage: str) -> Path:
    """Return the last tested run of a stage, of RGB where there is one.

    Args:
        root: folder that it lies below.
        stage: backbone, temporal or lstm.

    Raises:
        UserError: there is none.
    """
    tested: list[Path] = []
    of_rgb: list[Path] = []
    for path in run_folders(Path(root).expanduser()):
        if path.name == stage and (path / SCORES_FILE).exists():
            tested.append(path)
            if run_identity(path).get("modality") == "rgb":
                of_rgb.append(path)
    if not tested:
        raise UserError(
            f"No tested run of stage {stage} below {Path(root).absolute()}: make train makes one."
        )
    return max(of_rgb or tested)


def read_folder(path: Path) -> OneRun:
    """Return the run of a folder, as far as its files are there and whole."""
    run = OneRun(run_name(path), str(path))
    about = _read(run, path / ABOUT_FILE, _read_about, "what made it is unknown", {})
    settings = _read(run, path / CONFIG_FILE, _read_config, "its settings are unknown", {})
    run.history = _read(
        run,
        path / METRICS_FILE,
        lambda file: _read_metrics(file, run.complaints),
        "no history",
        pd.DataFrame(),
    )
    measures: dict = {}
    exists = (path / SCORES_FILE).exists()
    # A trial of a sweep is not tested.
    is_trial = about.get("tested") is False or "--test=false" in about.get("arguments", [])
    if exists or not is_trial:
        loss = "not tested (the command that trained it ends with testing)"
        if exists:
            loss = (
                "its scores are unknown; delete the file, and the command that made the run "
                "tests it again"
            )
        run.table, measures = _read(run, path / SCORES_FILE, read_scores, loss, (None, {}))
    run.config = {**run_identity(path), "commit": about.get("commit"), **settings}
    last = {}
    if len(run.history):
        last = run.history.ffill().iloc[-1].dropna().to_dict()
    run.summary = {**measures, **last, **costs(about)}
    return run


def read_scores(file: Path) -> tuple[ScoreTable, dict]:
    """Return a score table and its measures in %."""
    table = ScoreTable.load(file)
    return table, table.summary


def costs(about: dict) -> dict[str, float]:
    """Return minutes and memory of a run, as far as its run.json tells."""
    found = {}
    seconds = about.get("seconds")
    if isinstance(seconds, dict):
        found["minutes"] = round(sum(seconds.values()) / 60, 1)
    memory = about.get("peak_memory_gb")
    if memory:
        found["peak memory GB"] = memory
    return found


def _read(run: OneRun, file: Path, read: Callable[[Path], Any], loss: str, default: Any) -> Any:
    """Return what `read` makes of a file; of one that is absent or damaged, the default.

    Args:
        run: gets the complaint.
        file: to read.
        read: may raise whatever a damaged file makes it raise.
        loss: what is not known without the file.
        default: what stands for it.
    """
    if not file.exists():
        run.complaints.append(f"no {file.name}: {loss}")
        return default
    try:
        return read(file)
    except Exception as error:
        reason = " ".join(str(error).split())
        run.complaints.append(f"{file.name} cannot be read ({reason}): {loss}")
        return default


def _read_about(file: Path) -> dict:
    return _mapping(json.loads(file.read_text()))


def _read_config(file: Path) -> dict[str, Any]:
    return flat_settings(_mapping(yaml.safe_load(file.read_text())))


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
