"""The one renderer of reports: a page that holds everything it shows, and its text as Markdown."""

import base64
import mimetypes
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pandas as pd
from jinja2 import Environment, PackageLoader, select_autoescape
from markdown_it import MarkdownIt
from markupsafe import Markup

from sta_tsn.artefacts import atomic


@dataclass(frozen=True)
class Picture:
    """One picture of a report.

    Args:
        path: where it lies, in the report's folder.
        caption: what it shows; also what a screen reader says.
        layout: "whole" fits the page; "wide" keeps a readable width on a narrow screen, where it
            is scrolled; "native" is scrolled wherever it is wider than the page; a "tile" stands
            beside others.
    """

    path: Path
    caption: str
    layout: Literal["whole", "wide", "native", "tile"] = "whole"


@dataclass(frozen=True)
class Section:
    """One part of a report.

    Args:
        heading: plain text.
        text: what the numbers mean; inline Markdown.
        table: shown as it is, its index too unless it only counts.
        best: name of the row (in the index) to mark; none where empty.
        pictures: shown below the table.
    """

    heading: str
    text: str = ""
    table: pd.DataFrame | None = None
    best: str = ""
    pictures: list[Picture] = field(default_factory=list)


@dataclass(frozen=True)
class Report:
    """What a page says.

    Args:
        title: plain text.
        verdict: one sentence with the result and its interval; inline Markdown.
        facts: what was run, by name ("dataset", "backbone", ...); empty ones are left out.
        sections: in the page's order.
    """

    title: str
    verdict: str
    facts: dict[str, str]
    sections: list[Section]


def write_page(report: Report, path: Path) -> Path:
    """Write the report as one HTML file, pictures inside; return its path."""
    environment = Environment(
        loader=PackageLoader("sta_tsn.report"),
        autoescape=select_autoescape(["html.j2"]),
    )
    environment.filters["cells"] = _cells
    environment.filters["inline"] = _inline
    environment.filters["data_uri"] = _data_uri
    style, _, _ = environment.loader.get_source(environment, "report.css")
    page = environment.get_template("report.html.j2").render(report=report, style=Markup(style))
    with atomic(path) as temporary:
        temporary.write_text(page + "\n", encoding="utf-8")
    return path


def write_markdown(report: Report, path: Path) -> Path:
    """Write the report as Markdown that names the pictures beside it; return its path."""
    parts = [f"# {report.title}", report.verdict]
    facts = [f"- {name}: {value}" for name, value in report.facts.items() if value]
    if facts:
        parts.append("\n".join(facts))
    for section in report.sections:
        parts.append(f"## {section.heading}")
        if section.text:
            parts.append(section.text)
        if section.table is not None:
            parts.append(markdown(section.table))
        for picture in section.pictures:
            parts.append(picture.caption)
            parts.append(f"![{picture.caption}]({picture.path.name})")
    with atomic(path) as temporary:
        temporary.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return path


def markdown(table: pd.DataFrame) -> str:
    """Return the table as Markdown, numbers to the right and text as it is.

    Left alone, tabulate would print the text "56.0" as 56.
    """
    has_names = not isinstance(table.index, pd.RangeIndex)
    sides = ["right" if pd.api.types.is_numeric_dtype(kind) else "left" for kind in table.dtypes]
    if has_names:
        sides = ["left", *sides]
    return table.to_markdown(index=has_names, disable_numparse=True, colalign=sides)


def _cells(table: pd.DataFrame) -> dict:
    """Return what the template needs of a table; its texts are escaped there."""
    columns = [
        {"name": str(name), "numeric": pd.api.types.is_numeric_dtype(kind)}
        for name, kind in table.dtypes.items()
    ]
    rows = []
    for name, *values in table.itertuples(name=None):
        rows.append({"name": str(name), "cells": [_text(value) for value in values]})
    has_names = not isinstance(table.index, pd.RangeIndex)
    return {
        "columns": columns,
        "rows": rows,
        "has_names": has_names,
        "corner": table.index.name or "",
    }


def _text(value) -> str:
    """Return a cell's text: numbers without needless digits."""
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def _inline(text: str) -> Markup:
    """Return inline Markdown as HTML.

    Score tables may come from others, so HTML in the text stays text and no link or image is made.
    """
    renderer = MarkdownIt("commonmark", {"html": False}).disable(["link", "image", "autolink"])
    return Markup(renderer.renderInline(text))


def _data_uri(picture: Picture) -> str:
    kind = mimetypes.guess_type(picture.path.name)[0] or "image/png"
    content = base64.b64encode(picture.path.read_bytes()).decode()
    return f"data:{kind};base64,{content}"
