"""metrics.csv of a run: Lightning's CSV logger, but whole after any kill, and continued."""

import csv
from pathlib import Path

from sta_tsn.artefacts import atomic, load_checkpoint
from sta_tsn.lightning import CSVLogger, ExperimentWriter
from sta_tsn.runs.folder import RunFolder


class MetricsFile(ExperimentWriter):
    """Writes all rows anew at each save and renames: a few ms for thousands of rows.

    Lightning appends, and empties the file when a column is new; an interruption in between leaves
    rows without their header, or none at all.

    Args:
        path: metrics.csv.
        rows: of an earlier process, to go on after.
    """

    def __init__(self, path: Path, rows: list[dict[str, str]]):
        super().__init__(str(path.parent))
        self.path = path
        self.rows = rows

    def save(self) -> None:
        """Write what is there; the file is never half written."""
        rows = self.rows + self.metrics
        if not self.metrics:
            return
        with atomic(self.path) as temporary, open(temporary, "w", newline="") as file:
            writer = csv.DictWriter(file, sorted(set().union(*rows)))
            writer.writeheader()
            writer.writerows(rows)
        self.rows = rows
        self.metrics = []

    def _check_log_dir_exists(self) -> None:
        """Do nothing: Lightning's deletes the rows of the interrupted run."""


def csv_logger(folder: RunFolder) -> CSVLogger:
    """Return a logger that keeps an interrupted run's rows up to the checkpoint it goes on from."""
    rows = []
    if folder.metrics.exists() and folder.last.exists():
        step = load_checkpoint(folder.last, mmap=True)["global_step"]
        rows = _rows_before(folder.metrics, step)
    logger = CSVLogger(
        str(folder.path.parent), name=folder.path.name, version="", flush_logs_every_n_steps=1
    )
    logger._experiment = MetricsFile(folder.metrics, rows)
    return logger


def _rows_before(path: Path, step: int) -> list[dict[str, str]]:
    rows = []
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            if int(row["step"]) < step:
                rows.append({key: value for key, value in row.items() if value})
    return rows


def mean_of_last_epoch(folder: RunFolder, name: str) -> float | None:
    """Return the mean of a metric's logged steps in the last epoch; None where it is not logged."""
    if not folder.metrics.exists():
        return None
    with open(folder.metrics, newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get(name)]
    if not rows:
        return None
    values = [float(row[name]) for row in rows if row["epoch"] == rows[-1]["epoch"]]
    return sum(values) / len(values)
