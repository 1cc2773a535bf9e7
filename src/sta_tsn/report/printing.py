"""What `evaluate` and `fuse` print, and the lines that pages share with them."""

import sys
from pathlib import Path

import pandas as pd

from sta_tsn.errors import UserError
from sta_tsn.evaluation import ScoreTable, fuse, fuse_learned, on_shared_videos
from sta_tsn.report.tables import minutes
from sta_tsn.runs.layout import SCORES_FILE


def evaluate(paths: list[str]) -> None:
    """Print the accuracies of score tables, from nothing but the tables."""
    tables = {path: ScoreTable.load(path) for path in paths}
    print_table(summary_of(tables), protocol_line(tables))


def fuse_runs(paths: list[str], weights: list[float], out: str | None) -> None:
    """Print the measures of runs and of their fusion.

    Args:
        paths: runs' folders or score tables.
        weights: one a run.
        out: where to write the fused table; nowhere where None.

    Raises:
        UserError: a table is missing, or they do not fit together.
    """
    files = [Path(path, SCORES_FILE) if Path(path).is_dir() else Path(path) for path in paths]
    tables = {str(file): ScoreTable.load(file) for file in files}
    if len({file.resolve() for file in files}) != len(files):
        raise UserError(f"the same run twice: {', '.join(map(str, files))}")
    streams = on_shared_videos(list(tables.values()))
    for path, table, shared in zip(files, list(tables.values()), streams, strict=True):
        _print_left_out(path, table, shared)
    fused = fuse(streams, weights)
    tables[f"fused {':'.join(f'{weight:g}' for weight in weights)}"] = fused
    if all(table.validation for table in streams):
        tables["fused, weights learned on validation"] = fuse_learned(streams)
    else:
        print("No weights are learned: no validation video was scored by every run.")
    print_table(summary_of(tables), protocol_line(tables))
    if out:
        fused.save(out)
        print(f"Fused scores: {Path(out).resolve()}")


def _print_left_out(path: Path, table: ScoreTable, shared: ScoreTable) -> None:
    left_out = sorted(set(table.ids) - set(shared.ids))
    if not left_out:
        return
    more = f", ... ({len(left_out)} in all)" if len(left_out) > 5 else ""
    print(
        "Left out of the fusion, because not every run has them: "
        f"{', '.join(left_out[:5])}{more} (of {path})"
    )


def summary_of(tables: dict[str, ScoreTable]) -> pd.DataFrame:
    """Return the measures of each table, one line a table, and what it cost."""
    return pd.DataFrame({title: _row_of(table) for title, table in tables.items()}).T


def _row_of(table: ScoreTable) -> dict:
    """Return the measures, and what they cost (a fusion: all its streams)."""
    streams = table.protocol.get("fused", [table.protocol])
    memory = max(run.get("peak_memory_gb", 0) for run in streams)
    return {**table.summary, "minutes": minutes(table.protocol), "peak memory GB": memory}


def protocol_line(tables: dict[str, ScoreTable]) -> str:
    """Return what the numbers stand for; every protocol that occurs among the tables, once."""
    lines = {_protocol(table): None for table in tables.values()}
    return "\n".join([*lines, "Micro accuracy is Eq 19, mean-class accuracy TSN's."])


def _protocol(table: ScoreTable) -> str:
    unknown = {
        "dataset": "unknown dataset",
        "split": "?",
        "missing": 0,
        "seed": "?",
        "commit": "unknown",
    }
    protocol = unknown | table.protocol
    if "crops" in protocol:
        num_frames = protocol["segments"] * protocol["frames_per_segment"]
        seen = f"{num_frames} frames, {protocol['crops']} crops"
    elif protocol.get("views", 1) > 1:  # skeletons: nothing is sampled
        seen = f"whole sequences, views averaged: {protocol['views']}"
    else:
        seen = "whole sequences"
    missing = f" ({protocol['missing']} more are listed but MISSING)" if protocol["missing"] else ""
    return (
        f"{protocol['dataset']} split {protocol['split']}, {seen}, {len(table.ids)} test "
        f"videos{missing}, {len(table.classes)} classes, seed {protocol['seed']}, "
        f"commit {protocol['commit']}."
    )


def print_table(summary: pd.DataFrame, protocol: str, title: str = "") -> None:
    """Print a table of numbers, the protocol below it; no header is cut on 80 columns."""
    from rich.console import Console
    from rich.table import Column, Table

    headers = [Column(broken_header(name)) for name in summary.columns]
    model = Column("model", overflow="fold", min_width=12)
    printed = Table(model, *headers, title=title, caption=protocol)
    for name, row in summary.iterrows():
        printed.add_row(name, *("–" if pd.isna(value) else f"{value:g}" for value in row))
    # rich takes a log file for 80 columns, too few for the names
    Console(width=None if sys.stdout.isatty() else 120).print(printed)


def broken_header(name: str) -> str:
    """Return a measure's name as narrow columns have room for it, a word a line.

    Example:
        >>> broken_header("micro accuracy %")
        'micro\\n%'
    """
    shorter = name.replace(" accuracy", "").replace("peak memory", "peak")
    return shorter.replace(" ", "\n")
