"""The report of a reproduction: Tables 2, 3 and 4-6, significance, attention, figures; Markdown, HTML, CSV, PNG and SVG."""

import html
import shutil
from pathlib import Path

import pandas as pd
import yaml

from sta_tsn.artefacts import atomic
from sta_tsn.evaluation import confusion_matrix, pooled
from sta_tsn.evaluation.charts import confusion_chart, per_class_chart
from sta_tsn.report import paper
from sta_tsn.report.attention_tables import (
    ATTENTION_TEXT,
    OVER_BASELINE_TEXT,
    attention_over_baseline,
    attention_table,
)
from sta_tsn.report.rows_chart import rows_chart
from sta_tsn.report.tables import (
    TestedRun,
    competitors,
    differences,
    runs_table,
    table_2,
    table_3,
    with_fusions,
)

STYLE = """<!doctype html><meta charset="utf-8"><title>{title}</title>
<style>body{{font:16px/1.5 sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem}}img{{max-width:100%}}
table{{border-collapse:collapse}}td,th{{padding:.25rem .8rem;text-align:left;border-bottom:1px solid #ccc}}</style>
"""


def build_reproduction(
    runs: list[TestedRun],
    dataset: str,
    command: str,
    pictures: list[Path],
    folder: Path,
    beside: dict[str, str],
    last: str = "",
) -> Path:
    """Write `report.md`, `index.html`, one CSV a table and the figures; returns the page.

    Args:
        runs: tested runs, rows in the paper's order.
        dataset: as in `experiments/`.
        command: that writes this report again.
        pictures: attention figures to show.
        folder: to write to.
        beside: rows to which others are compared, where that is not the row above.
        last: the row that the figures show and the page is named after; the last one where empty.
    """
    folder.mkdir(parents=True, exist_ok=True)
    last = last or runs[-1].row
    ablations = " and ablations" if runs[-1].row != last else ""
    runs = with_fusions(runs)
    final = [run for run in runs if run.row == last]
    tables = {
        "runs": (
            "All runs",
            runs_table(runs),
            "One line per tested run. Everything above but what is said of attention is made from their score tables. Minutes of a stage "
            "two are on top of its stage one's; a fusion's are those of its streams.",
        ),
        "table_3": (
            "Table 3: the splits",
            table_3(runs, dataset),
            "Micro accuracy in %, mean over seeds (and the spread of their means). Behind the mean of the splits the 95 % interval of one "
            "seed, over the sources of all test clips; the paper's in brackets.",
        ),
        "differences": (
            "Which differences are real",
            differences(runs, beside),
            "Points, from low to high the 95 % interval of a paired bootstrap (10,000 draws) over the sources of the test clips (the "
            "videos that they were cut from; at SBU the pairs of actors); p by exchanging the rows' answers source by source. Tests: a "
            "clip that several splits test counts in each, as in the mean of the splits, with its mean over seeds. p is for the "
            "networks as they were trained: another seed trains other ones, and so does another rounding.",
        ),
        "attention": ("Attention against ground truth", attention_table(runs), ATTENTION_TEXT),
        "attention_over_baseline": (
            "Is attention above its baseline?",
            attention_over_baseline(runs),
            OVER_BASELINE_TEXT,
        ),
    }
    if dataset in paper.COMPETITORS and last == "STA-TSN":
        tables["competitors"] = (
            f"{paper.COMPETITORS_TABLE[dataset]}: the systems the paper compares with",
            competitors(final, dataset),
            "Micro accuracy in % as the paper prints it; ours from these runs.",
        )
    if any(run.split == 1 for run in runs):
        text = (
            f"Micro accuracy in % on {_tested_on(runs)}: mean ± standard deviation over seeds (95 % Wilson interval of one seed, in which "
            "clips of one source count as the fewer that they are worth)."
        )
        tables["table_2"] = ("Table 2: split 1", table_2(runs, dataset), text)
    order = (
        "table_2",
        "table_3",
        "differences",
        "attention_over_baseline",
        "attention",
        "competitors",
        "runs",
    )
    title = f"{dataset}: {last}{ablations} from our own runs"
    made = f"Made from score tables by `{command}`; what trained a run stands in its `run.json`."
    parts = [
        f"# {title}",
        made + _backbones(runs) + " The paper used ResNet-152 throughout." * (last in paper.ROWS),
    ]
    for name in order:
        if name not in tables or tables[name][1].empty:
            (folder / f"{name}.csv").unlink(missing_ok=True)  # of runs that are gone
            continue
        heading, table, text = tables[name]
        with atomic(folder / f"{name}.csv") as path:
            table.to_csv(path)
        parts.append(f"## {heading}\n\n{text}\n\n{markdown(table)}")
    parts.append(_figures(runs, final, pictures, folder))
    missing = ["attention scored"] * tables["attention"][1].empty + [
        "pictures of attention (Fig 6)"
    ] * (not pictures)
    if last == "STA-TSN" and missing and not ablations:
        parts.append(
            f"Not here: {' and '.join(missing)}. `make reproduce` makes them, from the runs' checkpoints."
        )
    return _write("\n\n".join(parts) + "\n", title, folder)


def markdown(table: pd.DataFrame) -> str:
    """Numbers to the right as they are: tabulate would print the text "56.0" as 56."""
    with_index = not isinstance(table.index, pd.RangeIndex)
    sides = ["right" if pd.api.types.is_numeric_dtype(kind) else "left" for kind in table.dtypes]
    return table.to_markdown(
        index=with_index, disable_numparse=True, colalign=["left"] * with_index + sides
    )


def _backbones(runs: list[TestedRun]) -> str:
    """What BACKBONE= said; nothing where it said nothing."""
    arguments = [argument for run in runs for argument in run.table.protocol.get("arguments", [])]
    values = [
        yaml.safe_load(argument.partition("=")[2])
        for argument in arguments
        if argument.startswith("--model.backbone=")
    ]
    given = sorted(
        {value["name"] if isinstance(value, dict) else value for value in values}
    )  # {name: ..., options: ...}
    if len(given) > 1:
        return f" **The runs' backbones differ: {', '.join(given)}.**"
    return f" Backbone: {given[0]}." if given else ""


def _tested_on(runs: list[TestedRun]) -> str:
    """Of split 1: "268 videos from 119 sources", and which runs were tested on fewer."""
    first = [run for run in runs if run.split == 1]
    table = max((run.table for run in first), key=lambda table: len(table.ids))
    fewer = [
        f"{run.row}, {run.modality}, seed {run.seed} on {len(run.table.ids)}"
        for run in first
        if len(run.table.ids) < len(table.ids)
    ]
    return (
        f"{len(table.ids)} videos from {len(set(table.groups))} sources"
        + f" (**fewer: {'; '.join(fewer)}**)" * bool(fewer)
    )


def _figures(
    runs: list[TestedRun], final: list[TestedRun], pictures: list[Path], folder: Path
) -> str:
    plain = [
        run for run in final if "learned" not in run.modality
    ]  # the fusion that the paper's pictures show
    of_modality = [run for run in plain if run.modality == plain[-1].modality]
    seed = min(run.seed for run in of_modality)
    of_seed = [run for run in of_modality if run.seed == seed]
    shown = pooled([run.table for run in of_seed])
    num_videos = len({video for run in of_seed for video in run.table.ids})  # splits may share some
    tests = f"{len(shown.ids)} tests of " if len(shown.ids) > num_videos else ""
    where = f"{_splits(of_seed)}, {tests}{num_videos} videos"
    title = f"{final[0].row}, {plain[-1].modality}, seed {seed}, {where}"
    for suffix in ("png", "svg"):
        all_rows = _rows_figure(runs, folder / f"rows.{suffix}")
        per_class_chart(shown, title, folder / f"per_class.{suffix}")
        confusion_chart(shown, title, folder / f"confusion.{suffix}")
    counts = pd.DataFrame(
        confusion_matrix(shown.scores, shown.labels).numpy(), shown.classes, shown.classes
    )
    with atomic(folder / "confusion.csv") as path:  # of Figures 4 and 5
        counts.to_csv(path, index_label="true class, tests by predicted class")
    names = {
        "rows.png": all_rows,
        "per_class.png": f"Fig 4: {title}",
        "confusion.png": f"Fig 5: {title}",
    }
    for picture in pictures:
        with atomic(folder / picture.name) as path:
            shutil.copyfile(picture, path)
        drawn = picture.stem.removeprefix("attention_").replace("_", " ")
        names[picture.name] = (
            f"Fig 6: attention on a test video drawn at random, one view of it ({drawn})"
        )
    return "## Figures\n\n" + "\n\n".join(
        f"{caption}\n\n![{caption}]({name})" for name, caption in names.items()
    )


def _rows_figure(runs: list[TestedRun], path: Path) -> str:
    """Every row on the splits that all of them have, on the first one where there is none; returns the caption."""
    tables: dict[tuple, list[TestedRun]] = {}
    for run in runs:
        tables.setdefault((run.row, run.modality, run.seed), []).append(run)
    shared = set.intersection(*({run.split for run in group} for group in tables.values()))
    shared = shared or {min(run.split for run in runs)}
    chosen = {key: [run for run in group if run.split in shared] for key, group in tables.items()}
    bars = [
        (row, modality, pooled([run.table for run in group]))
        for (row, modality, _), group in chosen.items()
        if group
    ]
    title = _splits([run for group in chosen.values() for run in group])
    rows_chart(bars, title, path)
    return f"Every row, {title}"


def _splits(runs: list[TestedRun]) -> str:
    numbers = sorted({run.split for run in runs})
    return f"split{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"


def _write(markdown: str, title: str, folder: Path) -> Path:
    from markdown_it import MarkdownIt

    # Score tables may come from others: no HTML of theirs (a commit, a class) may live in the page.
    renderer = MarkdownIt("commonmark", {"html": False}).enable("table")
    with atomic(folder / "report.md") as path:
        path.write_text(markdown, encoding="utf-8")
    page = folder / "index.html"
    with atomic(page) as path:
        path.write_text(
            STYLE.format(title=html.escape(title)) + renderer.render(markdown),
            encoding="utf-8",
        )
    return page
