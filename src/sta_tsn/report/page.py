"""The report of `make train`: one split and seed of a model's rows, on one page."""

import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from sta_tsn.artefacts import atomic, file_fingerprint, fingerprint, read_json, write_json
from sta_tsn.evaluation import ScoreTable, two_streams
from sta_tsn.report.findings import (
    accuracy_sentence,
    backbone_of,
    confused_pairs,
    curves_chart,
    wrong_clips,
)
from sta_tsn.report.printing import print_table, protocol_line, summary_of
from sta_tsn.report.renderer import Picture, Report, Section, write_page
from sta_tsn.runs.layout import METRICS_FILE

FORMAT = 2  # of the page: pages of another one are made anew


def build_report(
    name: str,
    scores: dict[str, dict[str, Path]],
    draw: Callable[[Path], list[tuple[str, str]]],
    folder: Path,
    command: str = "",
) -> None:
    """Print the table and write `index.html`, `<name>.csv` and the figures.

    Figures are drawn only when scores changed.

    Args:
        name: of the table, e.g. "Table 2" (then the file is table2.csv).
        scores: score tables by modality and by the row's title, in the table's order; the model
            itself last. Where there are two modalities their fusion, 1 to 1, is reported too.
        draw: makes the attention pictures in a folder, returns (file name, caption) of each.
        folder: to write to.
        command: that made the runs; said on the page.
    """
    tables = named_tables(
        {
            modality: {title: ScoreTable.load(path) for title, path in rows.items()}
            for modality, rows in scores.items()
        }
    )
    summary = summary_of(tables).convert_dtypes()
    print_table(summary, protocol_line(tables), name)
    paths = {
        f"{title}, {modality}": path
        for modality, rows in scores.items()
        for title, path in rows.items()
    }
    stamp = fingerprint([FORMAT, *(file_fingerprint(path) for path in paths.values())])
    page = folder / "index.html"
    if read_json(folder / "report.json").get("fingerprint") != stamp or not page.exists():
        figures = draw(folder)
        with atomic(folder / f"{name.lower().replace(' ', '').replace('-', '_')}.csv") as path:
            summary.to_csv(path, index_label="model")
        write_page(_compose(name, tables, summary, paths, figures, folder, command), page)
        write_json(
            folder / "report.json",
            {"fingerprint": stamp, "scores": {title: str(path) for title, path in paths.items()}},
        )
    print(f"Report: {page.resolve()}", flush=True)


def named_tables(streams: dict[str, dict[str, ScoreTable]]) -> dict[str, ScoreTable]:
    """Return the rows of Table 2; of two streams each row as RGB, flow, and both fused."""
    if len(streams) == 1:
        return next(iter(streams.values()))
    rows = {}
    for title in next(iter(streams.values())):
        parts = {modality: tables[title] for modality, tables in streams.items()}
        rows |= {f"{title}, {modality}": table for modality, table in parts.items()}
        fusions = two_streams(list(parts.values()))
        rows |= {f"{title}, {name}": table for name, table in fusions.items()}
    return rows


def _compose(
    name: str,
    tables: dict[str, ScoreTable],
    summary: pd.DataFrame,
    paths: dict[str, Path],
    figures: list[tuple[str, str]],
    folder: Path,
    command: str,
) -> Report:
    title, table = list(tables.items())[-1]
    protocol = table.protocol.get("fused", [table.protocol])[0]
    dataset = str(protocol.get("dataset", "unknown dataset"))
    accuracies = summary["micro accuracy %"]
    best = title if accuracies[title] == accuracies.max() else str(accuracies.idxmax())
    verdict = accuracy_sentence(title, table)
    if best != title:
        verdict += f" Best row: {best}, {accuracies[best]:.1f} %."
    facts = {
        "dataset": f"{dataset}, split {protocol.get('split', '?')}",
        "model": title,
        "backbone": backbone_of(protocol) or "as the recipe says",
        "seed": str(protocol.get("seed", "?")),
        "commit": str(protocol.get("commit", "unknown")),
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "command": command,
    }
    sections = [Section(name, protocol_line(tables), summary, best)]
    sections += [section for section in (wrong_clips(table), confused_pairs(table)) if section]
    if figures:
        pictures = [Picture(folder / file, caption, wide=True) for file, caption in figures]
        text = (
            "Test videos drawn at random. Spatial attention (alpha) says where in a frame, "
            "temporal attention (beta) which frames of a segment counted."
        )
        sections.append(Section("Where and when the network looked", text, pictures=pictures))
    sections.append(Section("Classes", pictures=draw_charts(tables, folder)))
    curves = folder / "curves.png"
    if curves_chart({row: path.parent / METRICS_FILE for row, path in paths.items()}, curves):
        picture = Picture(curves, "Loss and accuracy by epoch, where they were logged")
        sections.append(Section("How it was learned", pictures=[picture]))
    return Report(f"{name}: {title} on {dataset}", verdict, facts, sections)


def draw_charts(tables: dict[str, ScoreTable], folder: Path) -> list[Picture]:
    """Draw Figures 4 and 5 of the last table."""
    from sta_tsn.evaluation.charts import confusion_chart, per_class_chart

    title, table = list(tables.items())[-1]
    per_class_chart(table, title, folder / "per_class.png")
    confusion_chart(table, title, folder / "confusion.png")
    return [
        Picture(folder / "per_class.png", "Accuracy of each class (STA-TSN's Fig 4)"),
        Picture(folder / "confusion.png", "What each class was taken for (Fig 5)"),
    ]
