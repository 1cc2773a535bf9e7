"""The report of a dataset's runs: Table 2 as far as it is done, Figures 4 to 6, one page to open."""

import html
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sta_tsn.artefacts import atomic, file_fingerprint, fingerprint, read_json, write_json
from sta_tsn.datasets import VideoRecord
from sta_tsn.errors import UserError
from sta_tsn.evaluation import ScoreTable, fuse, fuse_learned, on_shared_videos, two_streams
from sta_tsn.report.tables import minutes
from sta_tsn.video import FlowStore

if TYPE_CHECKING:
    from sta_tsn.tasks import ActionRecognition

NUM_EXPLAINED = 4


def build_report(
    name: str,
    scores: dict[str, dict[str, Path]],
    draw: Callable[[Path], list[tuple[str, str]]],
    folder: Path,
) -> None:
    """Print the table and write `index.html`, `<name>.csv` and the figures; figures only when scores changed.

    Args:
        name: of the table, e.g. "Table 2" (then the file is table2.csv).
        scores: score tables by modality and by the row's title, in the table's order; the model itself last. Where there are
            two modalities their fusion, 1 to 1, is reported too.
        draw: makes the attention pictures in a folder, returns (file name, caption) of each.
        folder: to write to.
    """
    tables = named_tables(
        {
            modality: {title: ScoreTable.load(path) for title, path in rows.items()}
            for modality, rows in scores.items()
        }
    )
    summary = pd.DataFrame(
        {title: row_of(table) for title, table in tables.items()}
    ).T.convert_dtypes()
    print_table(summary, protocol_line(tables), name)
    paths = {
        f"{title}, {modality}": path
        for modality, rows in scores.items()
        for title, path in rows.items()
    }
    stamp = fingerprint([file_fingerprint(path) for path in paths.values()])
    page = folder / "index.html"
    if read_json(folder / "report.json").get("fingerprint") != stamp or not page.exists():
        figures = [*draw_charts(tables, folder), *draw(folder)]
        with atomic(folder / f"{name.lower().replace(' ', '').replace('-', '_')}.csv") as path:
            summary.to_csv(path, index_label="model")
        with atomic(page) as path:
            path.write_text(
                render_page(name, summary, protocol_line(tables), figures), encoding="utf-8"
            )
        write_json(
            folder / "report.json",
            {"fingerprint": stamp, "scores": {title: str(path) for title, path in paths.items()}},
        )
    print(f"Report: {page.resolve()}", flush=True)


def named_tables(streams: dict[str, dict[str, ScoreTable]]) -> dict[str, ScoreTable]:
    """The rows of Table 2; with two streams each row as RGB, flow and both, 1 to 1 and with learned weights."""
    if len(streams) == 1:
        return next(iter(streams.values()))
    rows = {}
    for title in next(iter(streams.values())):
        parts = {modality: tables[title] for modality, tables in streams.items()}
        rows |= {f"{title}, {modality}": table for modality, table in parts.items()}
        rows |= {
            f"{title}, {name}": table for name, table in two_streams(list(parts.values())).items()
        }
    return rows


def evaluate(paths: list[str]) -> None:
    """Print the accuracies of score tables, from nothing but the tables."""
    tables = {path: ScoreTable.load(path) for path in paths}
    print_table(
        pd.DataFrame({path: row_of(table) for path, table in tables.items()}).T,
        protocol_line(tables),
    )


def row_of(table: ScoreTable) -> dict:
    """A row of Table 2: the measures, and what it cost (a fusion: all its streams)."""
    memory = max(
        run.get("peak_memory_gb", 0) for run in table.protocol.get("fused", [table.protocol])
    )
    return {**table.summary, "minutes": minutes(table.protocol), "peak memory GB": memory}


def fuse_runs(paths: list[str], weights: list[float], out: str | None) -> None:
    """Print the measures of runs (folders or score tables) and of their fusion; write the fused table to `out`.

    Raises:
        UserError: a table is missing, or they do not fit together.
    """
    files = [Path(path, "scores.npz") if Path(path).is_dir() else Path(path) for path in paths]
    tables = {str(file): ScoreTable.load(file) for file in files}
    if len({file.resolve() for file in files}) != len(files):
        raise UserError(f"the same run twice: {', '.join(map(str, files))}")
    streams = on_shared_videos(list(tables.values()))
    for path, table, shared in zip(files, list(tables.values()), streams, strict=True):
        if left_out := sorted(set(table.ids) - set(shared.ids)):
            more = f", ... ({len(left_out)} in all)" if len(left_out) > 5 else ""
            print(
                f"Left out of the fusion, because not every run has them: {', '.join(left_out[:5])}{more} (of {path})"
            )
    tables[f"fused {':'.join(f'{weight:g}' for weight in weights)}"] = fused = fuse(
        streams, weights
    )
    if all(table.validation for table in streams):
        tables["fused, weights learned on validation"] = fuse_learned(streams)
    else:
        print("No weights are learned: no validation video was scored by every run.")
    print_table(
        pd.DataFrame({path: row_of(table) for path, table in tables.items()}).T,
        protocol_line(tables),
    )
    if out:
        fused.save(out)
        print(f"Fused scores: {Path(out).resolve()}")


def protocol_line(tables: dict[str, ScoreTable]) -> str:
    """What the numbers stand for; every protocol that occurs among the tables, once."""
    lines = {_protocol(table): None for table in tables.values()}
    return "\n".join([*lines, "Micro accuracy is Eq 19, mean-class accuracy TSN's."])


def _protocol(table: ScoreTable) -> str:
    protocol = {
        "dataset": "unknown dataset",
        "split": "?",
        "missing": 0,
        "seed": "?",
        "commit": "unknown",
    } | table.protocol
    if "crops" in protocol:
        seen = f"{protocol['segments'] * protocol['frames_per_segment']} frames, {protocol['crops']} crops"
    else:  # skeletons: nothing is sampled
        seen = (
            f"whole sequences, views averaged: {protocol['views']}"
            if protocol.get("views", 1) > 1
            else "whole sequences"
        )
    missing = f" ({protocol['missing']} more are listed but MISSING)" if protocol["missing"] else ""
    return (
        f"{protocol['dataset']} split {protocol['split']}, {seen}, {len(table.ids)} test "
        f"videos{missing}, {len(table.classes)} classes, seed {protocol['seed']}, commit {protocol['commit']}."
    )


def print_table(summary: pd.DataFrame, protocol: str, title: str = "") -> None:
    from rich.console import Console
    from rich.table import Column, Table

    printed = Table(
        Column("model", overflow="fold"), *summary.columns, title=title, caption=protocol
    )
    for title, row in summary.iterrows():
        printed.add_row(title, *(f"{value:g}" for value in row))
    Console(width=None if sys.stdout.isatty() else 120).print(
        printed
    )  # rich takes a log file for 80 columns, too few for the names


def draw_charts(tables: dict[str, ScoreTable], folder: Path) -> list[tuple[str, str]]:
    """The last table's Figures 4 and 5; returns (file name, caption) in the page's order."""
    from sta_tsn.evaluation.charts import confusion_chart, per_class_chart

    title, table = list(tables.items())[-1]
    per_class_chart(table, title, folder / "per_class.png")
    confusion_chart(table, title, folder / "confusion.png")
    return [
        ("per_class.png", "Accuracy of each class (STA-TSN's Fig 4)"),
        ("confusion.png", "Confusion matrix (Fig 5)"),
    ]


def draw_attention(
    tasks: dict[str, "ActionRecognition"],
    flow: FlowStore,
    test_videos: list[VideoRecord],
    folder: Path,
) -> list[tuple[str, str]]:
    """Of each modality's network."""
    return [
        figure
        for modality, task in tasks.items()
        for figure in _draw_attention(modality, task, flow, test_videos, folder)
    ]


def _draw_attention(
    modality: str,
    task: "ActionRecognition",
    flow: FlowStore,
    test_videos: list[VideoRecord],
    folder: Path,
) -> list[tuple[str, str]]:
    """Fig 6 for a few test videos drawn at random, scored from the checkpoint alone."""
    from sta_tsn.attention.explain import attention_figure, explain_video

    if modality == "flow":
        test_videos = [record for record in test_videos if record.num_frames > 1]
    chosen = np.random.default_rng(0).permutation(len(test_videos))[:NUM_EXPLAINED]
    figures = []
    for number, index in enumerate(sorted(chosen), 1):
        record = test_videos[index]
        stored = flow if modality == "flow" else None
        explained = explain_video(task, record, stored)
        said = task.classes[int(explained.output.scores.argmax())]
        true = (
            " and ".join(task.classes[label] for label in record.labels) or "no class (background)"
        )
        name = f"attention_{modality}_{number}.png"
        attention_figure(explained, f"{record.id}: {true}, taken for {said}", folder / name)
        figures.append(
            (
                name,
                f"Attention on {modality} (STA-TSN's Fig 6), {record.id}; crops, attention laid over them, frame numbers",
            )
        )
    return figures


def render_page(
    name: str, summary: pd.DataFrame, protocol: str, figures: list[tuple[str, str]]
) -> str:
    pictures = "\n".join(
        f'<figure><img src="{name}" alt="{html.escape(caption)}"><figcaption>{html.escape(caption)}</figcaption></figure>'
        for name, caption in figures
    )
    return f"""<!doctype html>
<meta charset="utf-8"><title>STA-TSN report</title>
<style>body{{font:16px/1.5 sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem}}img{{max-width:100%}}
td,th{{padding:.3rem .9rem;text-align:right;border-bottom:1px solid #ccc}}th:first-child{{text-align:left}}
figure{{margin:2rem 0}}figcaption{{color:#555}}</style>
<h1>{name}</h1>
{summary.to_html(border=0)}
<p>{html.escape(protocol)}</p>
{pictures}
"""
