"""The report of a reproduction: the paper's tables, significance, attention and figures.

Written as Markdown, HTML, CSV, PNG and SVG.
"""

import shutil
import time
from pathlib import Path

import pandas as pd

from sta_tsn.artefacts import atomic, plain_cell, read_json
from sta_tsn.evaluation import ScoreTable, confusion_matrix, pooled
from sta_tsn.evaluation.charts import confusion_chart, per_class_chart
from sta_tsn.report import paper
from sta_tsn.report.attention_tables import (
    ATTENTION_TEXT,
    OVER_BASELINE_TEXT,
    attention_over_baseline,
    attention_table,
)
from sta_tsn.report.findings import (
    backbone_of,
    confused_pairs,
    curves_chart,
    least_recognised,
    wrong_clips,
)
from sta_tsn.report.renderer import Picture, Report, Section, write_markdown, write_page
from sta_tsn.report.rows_chart import rows_chart
from sta_tsn.report.tables import (
    TestedRun,
    best_and_interval,
    competitors,
    differences,
    runs_table,
    table_2,
    table_3,
    with_fusions,
)
from sta_tsn.runs.layout import METRICS_FILE

RUNS_TEXT = (
    "One line per tested run. Everything above but what is said of attention is made from their "
    "score tables. Minutes of a stage two are on top of its stage one's; a fusion's are those of "
    "its streams."
)
TABLE_3_TEXT = (
    "Micro accuracy in %, mean over seeds (and the spread of their means). Behind the mean of the "
    "splits the 95 % interval of one seed, over the sources of all test clips; the paper's in "
    "brackets."
)
DIFFERENCES_TEXT = (
    "Points, from low to high the 95 % interval of a paired bootstrap (10,000 draws) over the "
    "sources of the test clips (the videos that they were cut from; at SBU the pairs of actors); "
    "p by exchanging the rows' answers source by source. Tests: a clip that several splits test "
    "counts in each, as in the mean of the splits, with its mean over seeds. p is for the "
    "networks as they were trained: another seed trains other ones, and so does another rounding."
)
ORDER = (
    "table_2",
    "table_3",
    "differences",
    "attention_over_baseline",
    "attention",
    "competitors",
    "runs",
)


def build_reproduction(
    runs: list[TestedRun],
    dataset: str,
    command: str,
    pictures: list[Path],
    folder: Path,
    beside: dict[str, str],
    last: str = "",
) -> Path:
    """Write `report.md`, `index.html`, one CSV a table and the figures; return the page.

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
    has_ablations = runs[-1].row != last
    runs = with_fusions(runs)
    final = [run for run in runs if run.row == last]
    best, verdict = best_and_interval(runs, last)
    sections = []
    tables = _tables(runs, final, dataset, last)
    tables["differences"] = ("Which differences are real", differences(runs, beside))
    texts = {
        "table_2": _table_2_text(runs),
        "table_3": TABLE_3_TEXT,
        "differences": DIFFERENCES_TEXT,
        "attention_over_baseline": OVER_BASELINE_TEXT,
        "attention": ATTENTION_TEXT,
        "competitors": "Micro accuracy in % as the paper prints it; ours from these runs.",
        "runs": RUNS_TEXT,
    }
    for name in ORDER:
        heading, table = tables.get(name, ("", pd.DataFrame()))
        if table.empty:
            (folder / f"{name}.csv").unlink(missing_ok=True)  # of runs that are gone
            continue
        with atomic(folder / f"{name}.csv") as path:
            table.to_csv(path)
        sections.append(Section(heading, texts[name], table, best if name == "table_3" else ""))
    sections += _figures(runs, final, pictures, folder)
    is_unscored = tables["attention"][1].empty
    if last == "STA-TSN" and not has_ablations and (is_unscored or not pictures):
        sections.append(_missing(is_unscored, not pictures))
    title = f"{dataset}: {last}{' and ablations' if has_ablations else ''} from our own runs"
    report = Report(title, verdict, _facts(runs, dataset, last, command), sections)
    write_markdown(report, folder / "report.md")
    return write_page(report, folder / "index.html")


def _tables(
    runs: list[TestedRun], final: list[TestedRun], dataset: str, last: str
) -> dict[str, tuple[str, pd.DataFrame]]:
    """Return heading and table by the name of the file."""
    tables = {
        "runs": ("All runs", runs_table(runs)),
        "table_3": ("Table 3: the splits", table_3(runs, dataset)),
        "attention": ("Attention against ground truth", attention_table(runs)),
        "attention_over_baseline": (
            "Is attention above its baseline?",
            attention_over_baseline(runs),
        ),
    }
    if dataset in paper.COMPETITORS and last == "STA-TSN":
        heading = f"{paper.COMPETITORS_TABLE[dataset]}: the systems the paper compares with"
        tables["competitors"] = (heading, competitors(final, dataset))
    if any(run.split == 1 for run in runs):
        tables["table_2"] = ("Table 2: split 1", table_2(runs, dataset))
    return tables


def _table_2_text(runs: list[TestedRun]) -> str:
    if not any(run.split == 1 for run in runs):
        return ""
    return (
        f"Micro accuracy in % on {_tested_on(runs)}: mean ± standard deviation over seeds "
        "(95 % Wilson interval of one seed, in which clips of one source count as the fewer that "
        "they are worth)."
    )


def _facts(runs: list[TestedRun], dataset: str, last: str, command: str) -> dict[str, str]:
    backbone = _backbones(runs)
    if last in paper.ROWS:
        backbone = f"{backbone or 'not told'} (the paper: ResNet-152 throughout)"
    seeds = sorted({run.seed for run in runs})
    return {
        "dataset": f"{dataset}, {_splits(runs)}",
        "model": last,
        "backbone": backbone,
        "seeds": ", ".join(map(str, seeds)),
        "runs": str(sum(run.folder is not None for run in runs)),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "command": command,
    }


def _missing(is_unscored: bool, is_undrawn: bool) -> Section:
    missing = []
    if is_unscored:
        missing.append("attention scored")
    if is_undrawn:
        missing.append("pictures of attention (Fig 6)")
    text = (
        f"Not here: {' and '.join(missing)}. `make reproduce` makes them, from the runs' "
        "checkpoints."
    )
    return Section("What is missing", text)


def _backbones(runs: list[TestedRun]) -> str:
    """Return the backbone of the runs; "" where no configuration names one."""
    found = {backbone_of(run.folder) for run in runs if run.folder} - {""}
    if len(found) > 1:
        return f"they differ: {', '.join(sorted(found))}"
    return next(iter(found), "")


def _tested_on(runs: list[TestedRun]) -> str:
    """Return "268 videos from 119 sources" of split 1, and which runs were tested on fewer."""
    first = [run for run in runs if run.split == 1]
    whole = max((run.table for run in first), key=lambda table: len(table.ids))
    num_videos = len(whole.ids)
    told = f"{num_videos} videos from {len(set(whole.groups))} sources"
    fewer = []
    for run in first:
        its_own = len(run.table.ids)
        if its_own < num_videos:
            fewer.append(f"{run.row}, {run.modality}, seed {run.seed} on {its_own}")
    if not fewer:
        return told
    return f"{told} (**fewer: {'; '.join(fewer)}**)"


def _figures(
    runs: list[TestedRun], final: list[TestedRun], pictures: list[Path], folder: Path
) -> list[Section]:
    """Draw Figures 4 to 6 of the last row; return wrong answers, attention and charts."""
    # The fusion that the paper's pictures show.
    plain = [run for run in final if "learned" not in run.modality]
    of_modality = [run for run in plain if run.modality == plain[-1].modality]
    seed = min(run.seed for run in of_modality)
    of_seed = [run for run in of_modality if run.seed == seed]
    shown = pooled([run.table for run in of_seed])
    videos: set[str] = set()  # splits may share some
    for run in of_seed:
        videos.update(run.table.ids)
    num_videos = len(videos)
    tests = f"{len(shown.ids)} tests of " if len(shown.ids) > num_videos else ""
    where = f"{_splits(of_seed)}, {tests}{num_videos} videos"
    title = f"{final[0].row}, {plain[-1].modality}, seed {seed}, {where}"
    for suffix in ("png", "svg"):
        all_rows = _rows_figure(runs, folder / f"rows.{suffix}")
        per_class_chart(shown, title, folder / f"per_class.{suffix}")
        confusion_chart(shown, title, folder / f"confusion.{suffix}")
    _write_confusion(shown, folder / "confusion.csv")
    sections = wrong_clips(shown)
    sections += [found for found in (confused_pairs(shown), least_recognised(shown)) if found]
    drawn = [_copied(picture, folder) for picture in pictures]
    if drawn:
        sections.append(Section("Where and when the network looked", pictures=drawn))
    charts = [
        Picture(folder / "rows.png", all_rows),
        Picture(folder / "per_class.png", f"Fig 4: {title}"),
        Picture(folder / "confusion.png", f"Fig 5: {title}"),
    ]
    sections.append(Section("Figures", pictures=charts))
    curves = folder / "curves.png"
    metrics = {
        f"{run.row}, {run.modality}, split {run.split}": run.folder / METRICS_FILE
        for run in runs
        if run.folder and run.seed == seed and run.split == of_seed[0].split
    }
    if curves_chart(metrics, curves):
        picture = Picture(curves, f"Loss and accuracy by epoch, seed {seed}, where they are logged")
        sections.append(Section("How it was learned", pictures=[picture]))
    else:
        curves.unlink(missing_ok=True)
    return sections


def _write_confusion(shown: ScoreTable, path: Path) -> None:
    """Write the counts of Figures 4 and 5."""
    matrix = confusion_matrix(shown.scores, shown.labels).numpy()
    names = [plain_cell(name) for name in shown.classes]
    counts = pd.DataFrame(matrix, names, names)
    with atomic(path) as temporary:
        counts.to_csv(temporary, index_label="true class, tests by predicted class")


def _copied(picture: Path, folder: Path) -> Picture:
    """Copy a picture of attention into the report's folder."""
    with atomic(folder / picture.name) as path:
        shutil.copyfile(picture, path)
    captions = read_json(picture.parent / "report.json").get("captions", {})
    drawn = picture.stem.removeprefix("attention_").replace("_", " ")
    caption = captions.get(picture.name, f"Attention on a test video drawn at random ({drawn})")
    return Picture(folder / picture.name, caption, "wide")


def _rows_figure(runs: list[TestedRun], path: Path) -> str:
    """Draw every row on the splits that all of them have, and return the caption.

    Where they share none, on the first one.
    """
    tables: dict[tuple, list[TestedRun]] = {}
    for run in runs:
        tables.setdefault((run.row, run.modality, run.seed), []).append(run)
    shared = set.intersection(*({run.split for run in group} for group in tables.values()))
    shared = shared or {min(run.split for run in runs)}
    bars = []
    shown = []
    for (row, modality, _), group in tables.items():
        chosen = [run for run in group if run.split in shared]
        if chosen:
            bars.append((row, modality, pooled([run.table for run in chosen])))
            shown += chosen
    title = _splits(shown)
    rows_chart(bars, title, path)
    return f"Every row, {title}"


def _splits(runs: list[TestedRun]) -> str:
    numbers = sorted({run.split for run in runs})
    name = "split" if len(numbers) == 1 else "splits"
    return f"{name} {', '.join(map(str, numbers))}"
