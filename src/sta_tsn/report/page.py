"""The report of `make train`: one split and seed of a model's rows, on one page."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd

from sta_tsn.artefacts import atomic, file_fingerprint, fingerprint, read_json, write_json
from sta_tsn.evaluation import ScoreTable, two_streams
from sta_tsn.evaluation.charts import MOST_CLASSES_AS_MATRIX
from sta_tsn.report.findings import (
    DrawClips,
    accuracy_sentence,
    backbone_of,
    confused_pairs,
    curves_chart,
    least_recognised,
    wrong_clips,
)
from sta_tsn.report.printing import print_table, protocol_line, summary_of
from sta_tsn.report.renderer import Picture, Report, Section, write_page
from sta_tsn.runs.layout import METRICS_FILE

FORMAT = 3  # of the page: pages of another one are made anew


def build_report(
    name: str,
    scores: dict[str, dict[str, Path]],
    draw: Callable[[Path], list[Picture]],
    folder: Path,
    command: str = "",
    draw_clips: Callable[[list[str], Path], dict[str, Picture]] | None = None,
) -> None:
    """Print the table and write `index.html`, `<name>.csv` and the figures.

    Figures are drawn only when scores changed.

    Args:
        name: of the table, e.g. "Table 2" (then the file is table2.csv).
        scores: score tables by modality and by the row's title, in the table's order; the model
            itself last. Where there are two modalities their fusion, 1 to 1, is reported too.
        draw: makes the pictures of attention in a folder.
        folder: to write to.
        command: that made the runs; said on the page.
        draw_clips: draws videos by their ids in a folder and returns the pictures by id; None: the
            wrong answers stay without pictures.
    """
    tables = named_tables(
        {
            modality: {title: ScoreTable.load(path) for title, path in rows.items()}
            for modality, rows in scores.items()
        }
    )
    summary = summary_of(tables).convert_dtypes()
    print_table(summary, protocol_line(tables), name)
    paths = {}
    for modality, rows in scores.items():
        for title, path in rows.items():
            paths[f"{title}, {modality}"] = path
    stamp = fingerprint([FORMAT, *(file_fingerprint(path) for path in paths.values())])
    page = folder / "index.html"
    if read_json(folder / "report.json").get("fingerprint") != stamp or not page.exists():
        folder.mkdir(parents=True, exist_ok=True)
        for drawn in [*folder.glob("attention_*"), *folder.glob("wrong_*")]:
            drawn.unlink()  # of an earlier version or of other scores
        attention = draw(folder)
        with atomic(folder / f"{name.lower().replace(' ', '').replace('-', '_')}.csv") as path:
            summary.to_csv(path, index_label="model")
        drawing = partial(draw_clips, folder=folder) if draw_clips else None
        sections = _sections(name, tables, summary, attention, drawing, folder)
        sections += _learning(paths, folder)
        facts = _facts(tables, paths, command)
        write_page(_report(name, tables, summary, facts, sections), page)
        about = {
            "fingerprint": stamp,
            "scores": {title: str(path) for title, path in paths.items()},
            "captions": {picture.path.name: picture.caption for picture in attention},
        }
        write_json(folder / "report.json", about)
    print(f"Report: {page.resolve()}", flush=True)


def named_tables(streams: dict[str, dict[str, ScoreTable]]) -> dict[str, ScoreTable]:
    """Return the rows of Table 2; of two streams each row as RGB, flow, and both fused."""
    if len(streams) == 1:
        return next(iter(streams.values()))
    rows = {}
    for title in next(iter(streams.values())):
        parts = []
        for modality, tables in streams.items():
            parts.append(tables[title])
            rows[f"{title}, {modality}"] = tables[title]
        for name, table in two_streams(parts).items():
            rows[f"{title}, {name}"] = table
    return rows


def _report(
    name: str,
    tables: dict[str, ScoreTable],
    summary: pd.DataFrame,
    facts: dict[str, str],
    sections: list[Section],
) -> Report:
    title, table = list(tables.items())[-1]
    best = _best_row(title, summary)
    verdict = accuracy_sentence(title, table)
    if best != title:
        verdict += f" Best row: {best}, {summary['micro accuracy %'][best]:.1f} %."
    dataset = facts["dataset"].partition(",")[0]
    return Report(f"{name}: {title} on {dataset}", verdict, facts, sections)


def _best_row(title: str, summary: pd.DataFrame) -> str:
    """Return the row with the best accuracy; of equal ones the model itself."""
    accuracies = summary["micro accuracy %"]
    return title if accuracies[title] == accuracies.max() else str(accuracies.idxmax())


def _facts(tables: dict[str, ScoreTable], paths: dict[str, Path], command: str) -> dict[str, str]:
    """Return what was run, of the last row."""
    title, table = list(tables.items())[-1]
    protocol = table.protocol.get("fused", [table.protocol])[0]
    last = list(paths.values())[-1]
    dataset = protocol.get("dataset", "unknown dataset")
    return {
        "dataset": f"{dataset}, split {protocol.get('split', '?')}",
        "model": title,
        "backbone": backbone_of(last.parent),
        "seed": str(protocol.get("seed", "?")),
        "commit": str(protocol.get("commit", "unknown")),
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(last.stat().st_mtime)),
        "command": command,
    }


def _sections(
    name: str,
    tables: dict[str, ScoreTable],
    summary: pd.DataFrame,
    attention: list[Picture],
    draw_clips: DrawClips | None,
    folder: Path,
) -> list[Section]:
    title, table = list(tables.items())[-1]
    sections = [Section(name, protocol_line(tables), summary, _best_row(title, summary))]
    if attention:
        text = (
            "Test videos drawn at random, of each segment the strongest frame. Spatial attention "
            "(α) says where in a frame, temporal attention (β) which frames of a segment counted."
        )
        heading = "Where and when the network looked"
        sections.append(Section(heading, text, pictures=attention))
    sections += wrong_clips(table, draw_clips)
    sections += [found for found in (confused_pairs(table), least_recognised(table)) if found]
    sections.append(Section("Classes", pictures=draw_charts(tables, folder)))
    return sections


def _learning(paths: dict[str, Path], folder: Path) -> list[Section]:
    curves = folder / "curves.png"
    metrics = {row: path.parent / METRICS_FILE for row, path in paths.items()}
    if not curves_chart(metrics, curves):
        return []
    picture = Picture(curves, "Loss and accuracy by epoch, where they were logged")
    return [Section("How it was learned", pictures=[picture])]


def draw_charts(tables: dict[str, ScoreTable], folder: Path) -> list[Picture]:
    """Draw Figures 4 and 5 of the last table."""
    from sta_tsn.evaluation.charts import confusion_chart, per_class_chart

    title, table = list(tables.items())[-1]
    per_class_chart(table, title, folder / "per_class.png")
    confusion_chart(table, title, folder / "confusion.png")
    layout = "native" if len(table.classes) > MOST_CLASSES_AS_MATRIX else "whole"
    return [
        Picture(folder / "per_class.png", "Accuracy of each class (STA-TSN's Fig 4)", layout),
        Picture(folder / "confusion.png", "What each class was taken for (Fig 5)"),
    ]
