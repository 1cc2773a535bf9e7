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
    """A run as far as it could be read; `complaints` say what could not."""

    name: str
    place: str
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    history: pd.DataFrame = field(default_factory=pd.DataFrame)
    table: ScoreTable | None = None
    complaints: list[str] = field(default_factory=list)


def run_folders(root: Path) -> Iterator[Path]:
    """Run folders below `root` (or itself), in order; nothing below a run is searched."""
    for path, folders, files in os.walk(root):
        if RUN_FILES & set(files):
            folders.clear()
            yield Path(path)
        folders[:] = sorted(
            name for name in folders if ".old-" not in name and not name.startswith(".")
        )


def one_folder(root: str | os.PathLike, stage: str) -> Path:
    """The last tested RGB run of a stage below a folder; of any modality where there is none of RGB.

    Raises:
        UserError: there is none.
    """
    tested = [
        path
        for path in run_folders(Path(root).expanduser())
        if path.name == stage and (path / SCORES_FILE).exists()
    ]
    if not tested:
        raise UserError(
            f"No tested run of stage {stage} below {Path(root).absolute()}: make train makes one."
        )
    return max(tested, key=lambda path: (run_identity(path).get("modality") == "rgb", path))


def read_folder(path: Path) -> OneRun:
    run = OneRun(run_name(path), str(path))
    about = _read(
        run,
        path / ABOUT_FILE,
        lambda file: _mapping(json.loads(file.read_text())),
        "what made it is unknown",
        {},
    )
    settings = _read(
        run,
        path / CONFIG_FILE,
        lambda file: flat_settings(_mapping(yaml.safe_load(file.read_text()))),
        "its settings are unknown",
        {},
    )
    run.history = _read(
        run,
        path / METRICS_FILE,
        lambda file: _read_metrics(file, run.complaints),
        "no history",
        pd.DataFrame(),
    )
    measures: dict = {}
    exists = (path / SCORES_FILE).exists()
    is_trial = about.get("tested") is False or "--test=false" in about.get(
        "arguments", []
    )  # of a sweep: not tested
    if exists or not is_trial:
        loss = "not tested (the command that trained it ends with testing)"
        if exists:
            loss = "its scores are unknown; delete the file, and the command that made the run tests it again"
        run.table, measures = _read(run, path / SCORES_FILE, read_scores, loss, (None, {}))
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
        run.complaints.append(
            f"{file.name} cannot be read ({' '.join(str(error).split())}): {loss}"
        )
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
