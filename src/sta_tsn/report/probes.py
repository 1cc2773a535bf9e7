"""The report on heads of frozen features, from score tables alone."""

import time
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from sta_tsn.artefacts import atomic, save_figure
from sta_tsn.evaluation import ScoreTable
from sta_tsn.evaluation.charts import plt
from sta_tsn.evaluation.metrics import is_right
from sta_tsn.evaluation.statistics import accuracy_interval
from sta_tsn.report.renderer import Picture, Report, Section, write_markdown, write_page
from sta_tsn.report.tables import TestedRun, compared, grouped, runs_table, table_3

INTACT = "as they are"

ACCURACY_TEXT = (
    "Micro accuracy in %, mean over seeds; behind the mean of the splits the 95 % interval of one "
    "seed over the sources of all test clips. Of every head a grid of settings was trained; the "
    "one that was best on validation videos of other sources was tested, once."
)
DIFFERENCES_TEXT = (
    "Second minus first in points, on the same tests of videos; from low to high the 95 % interval "
    "of a paired bootstrap over source videos, p by exchanging the heads' answers source by source."
)
CONTROLS_TEXT = (
    "The tested head on disturbed test videos, accuracy in %, and in brackets the points to the "
    "same videos as they are, with p. A head that loses nothing when frames are shuffled does "
    "not use their order; a clip score that one frame reaches did not need time. Dropped are a "
    "third of each segment's frames, those with the most or the least attention."
)
CHOICE_TEXT = (
    "Which settings validation chose, what the chosen head reached there, and how far the grid's "
    "heads lie apart there: the difference to the test score is what choosing costs."
)
SHOTS_TEXT = (
    "Micro accuracy in % over the labelled videos of each class that were learned from, drawn from "
    "as many sources as there are; mean of all draws (seeds) and splits, 95 % interval of one draw "
    "over the sources of the test clips, and the standard deviation of the draws."
)


class ProbeRun(NamedTuple):
    """One tested head; `shots` labelled videos of each class were learned from, all where None."""

    row: str
    encoder: str
    split: int
    seed: int
    table: ScoreTable
    folder: Path
    shots: int | None = None

    @property
    def tested(self) -> TestedRun:
        """Return the run as other reports know it, the encoder in the place of the modality."""
        return TestedRun(self.row, self.encoder, self.split, self.seed, self.table, self.folder)


def build_probe_report(runs: Sequence[ProbeRun], dataset: str, command: str, folder: Path) -> Path:
    """Write `report.md`, `index.html`, one CSV a table and the curve; return the page.

    Args:
        runs: in the heads' order.
        dataset: as in `experiments/`, or as an import named it.
        command: that writes this report again.
        folder: to write to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    whole = [run for run in runs if run.shots is None]
    few = [run for run in runs if run.shots is not None]
    sections = []
    verdict = ""
    if whole:
        tested = [run.tested for run in whole]
        best, verdict = _verdict(whole)
        accuracy = table_3(tested, dataset)
        sections += [
            Section("Heads", ACCURACY_TEXT, _saved(accuracy, folder / "heads.csv"), best),
            Section(
                "Which differences are real",
                DIFFERENCES_TEXT,
                _saved(every_difference(whole), folder / "differences.csv"),
            ),
            Section(
                "Did it need time?",
                CONTROLS_TEXT,
                _saved(controls_table(whole), folder / "controls.csv"),
            ),
            Section(
                "What validation chose",
                CHOICE_TEXT,
                _saved(choice_table(whole), folder / "choices.csv"),
            ),
        ]
    if few:
        draw_shots(few, dataset, folder / "shots.png")
        picture = Picture(folder / "shots.png", "Accuracy over labelled videos of each class")
        table = _saved(shots_table(few), folder / "shots.csv")
        sections.append(Section("Few labels", SHOTS_TEXT, table, pictures=[picture]))
        verdict = verdict or "Heads that learned from few labels alone; see below."
    all_runs = runs_table([run.tested for run in whole or few])
    sections.append(Section("All runs", "", _saved(all_runs, folder / "runs.csv")))
    facts = {
        "dataset": dataset,
        "encoders": ", ".join(dict.fromkeys(run.encoder for run in runs)),
        "splits": ", ".join(str(split) for split in sorted({run.split for run in runs})),
        "seeds": ", ".join(str(seed) for seed in sorted({run.seed for run in runs})),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "command": command,
    }
    report = Report(f"{dataset}: heads on frozen features", verdict, facts, sections)
    write_markdown(report, folder / "report.md")
    return write_page(report, folder / "index.html")


def _saved(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    with atomic(path) as temporary:
        table.to_csv(temporary, index=not isinstance(table.index, pd.RangeIndex))
    return table


def _verdict(runs: Sequence[ProbeRun]) -> tuple[str, str]:
    """Return the best line of the table of heads, and a sentence on it.

    Lines of fewer splits than the most complete one are not compared.
    """
    lines = {}
    for (row, encoder), group in _grouped(runs, "row", "encoder").items():
        lines[f"{row}, {encoder}"] = (len({run.split for run in group}), _accuracy(group), group)
    most = max(count for count, _, _ in lines.values())
    complete = {name: line for name, line in lines.items() if line[0] == most}
    best = max(complete, key=lambda name: complete[name][1])
    _, accuracy, group = complete[best]
    low, high = _interval(group)
    return best, (
        f"**{best}: {accuracy:.1f} %** of the test videos are recognised (95 % interval {low:.1f} "
        f"to {high:.1f} %), the best of {len(lines)} heads."
    )


def answers(runs: Sequence[ProbeRun], control: str = INTACT) -> pd.DataFrame:
    """Return `right` (share of seeds) and `group` of every test, by split and video.

    Args:
        runs: of one head and encoder.
        control: whose scores count, see `ScoreTable`.
    """
    lines = []
    for run in runs:
        scores = run.table.scores if control == INTACT else run.table.controls[control]
        right = is_right(scores, run.table.labels).numpy()
        groups = run.table.groups
        lines.append(
            pd.DataFrame(
                {"split": run.split, "video": run.table.ids, "group": groups, "right": right}
            )
        )
    tests = pd.concat(lines).dropna().groupby(["split", "video"])
    return tests.agg({"group": "first", "right": "mean"})


def every_difference(runs: Sequence[ProbeRun]) -> pd.DataFrame:
    """Return every two heads of an encoder, and every two encoders of a head, on the same tests."""
    lines = []
    groups = _grouped(runs, "row", "encoder")
    for first, second in combinations(groups, 2):
        if first[0] != second[0] and first[1] != second[1]:
            continue
        both = answers(groups[first]).join(
            answers(groups[second])["right"].rename("second"), how="inner"
        )
        if both.empty:
            continue
        found = compared(both["right"], both["second"], both["group"])
        lines.append({"from": ", ".join(first), "to": ", ".join(second), **found})
    return pd.DataFrame(lines)


def controls_table(runs: Sequence[ProbeRun]) -> pd.DataFrame:
    """Return the accuracy of each head under each control beside that on the videos as they are."""
    lines = {}
    for (row, encoder), group in _grouped(runs, "row", "encoder").items():
        intact = answers(group)
        line = {INTACT: f"{100 * intact['right'].mean():.1f}"}
        for control in _controls(group):
            disturbed = answers(group, control)
            found = compared(intact["right"], disturbed["right"], intact["group"])
            accuracy = 100 * disturbed["right"].mean()
            line[control] = f"{accuracy:.1f} ({found['points']:+.1f}, p {found['p']:.3f})"
        lines[f"{row}, {encoder}"] = line
    return pd.DataFrame.from_dict(lines, orient="index").fillna("–")


def _controls(runs: Sequence[ProbeRun]) -> list[str]:
    """Return the controls that all of the runs have."""
    first = runs[0].table.controls
    return [name for name in first if all(name in run.table.controls for run in runs)]


def choice_table(runs: Sequence[ProbeRun]) -> pd.DataFrame:
    """Return the settings that were chosen, with validation and test accuracy in %."""
    lines = []
    for run in runs:
        choice = dict(run.table.protocol.get("choice", {}))
        grid = choice.pop("grid", [])
        reached = [line["val accuracy %"] for line in grid]
        settings = ", ".join(f"{name} {value:g}" for name, value in choice.items())
        lines.append(
            {
                "head": run.row,
                "encoder": run.encoder,
                "split": run.split,
                "seed": run.seed,
                "chosen": settings,
                "of": len(grid),
                "validation videos": run.table.protocol.get("chosen_on", 0),
                "validation %": max(reached, default=float("nan")),
                "worst of the grid %": min(reached, default=float("nan")),
                "test %": run.table.summary["micro accuracy %"],
            }
        )
    return pd.DataFrame(lines)


def shots_table(runs: Sequence[ProbeRun]) -> pd.DataFrame:
    """Return accuracy by labelled videos of each class, with interval and spread of the draws."""
    lines = {}
    for (row, encoder, shots), group in _grouped(runs, "row", "encoder", "shots").items():
        low, high = _interval(group)
        means = [_accuracy(of_draw) for of_draw in _grouped(group, "seed").values()]
        spread = f" ± {np.std(means, ddof=1):.1f}" if len(means) > 1 else ""
        cell = f"{_accuracy(group):.1f}{spread} ({low:.1f} to {high:.1f})"
        lines.setdefault(f"{row}, {encoder}", {})[f"{shots} a class"] = cell
    table = pd.DataFrame.from_dict(lines, orient="index").fillna("–")
    return table[sorted(table, key=lambda name: int(name.split()[0]))]


def draw_shots(runs: Sequence[ProbeRun], dataset: str, path: Path) -> None:
    """Draw accuracy over labelled videos of each class, a line a head, with 95 % intervals."""
    figure, axes = plt.subplots(figsize=(7, 4.5))
    for (row, encoder), group in _grouped(runs, "row", "encoder").items():
        by_shots = dict(sorted(_grouped(group, "shots").items()))
        places, heights, below, above = [], [], [], []
        for (shots,), of_shots in by_shots.items():
            low, high = _interval(of_shots)
            height = _accuracy(of_shots)
            places.append(shots)
            heights.append(height)
            below.append(max(0.0, height - low))
            above.append(max(0.0, high - height))
        label = f"{row}, {encoder}"
        axes.errorbar(places, heights, [below, above], marker="o", capsize=3, label=label)
    shown = sorted({run.shots for run in runs})
    axes.set_xscale("log")
    axes.set_xticks(shown, [str(shots) for shots in shown])
    axes.minorticks_off()
    axes.set(
        xlabel="labelled videos of each class",
        ylabel="accuracy %",
        title=f"{dataset}: micro accuracy, 95 % intervals over sources",
    )
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
    save_figure(figure, path)
    plt.close(figure)


def _grouped(runs: Sequence[ProbeRun], *names: str) -> dict[tuple, list[ProbeRun]]:
    return grouped(list(runs), *names)


def _accuracy(runs: Sequence[ProbeRun]) -> float:
    """Return the mean over splits of the mean over seeds, in %."""
    of_splits = []
    for group in _grouped(runs, "split").values():
        of_splits.append(np.mean([run.table.summary["micro accuracy %"] for run in group]))
    return float(np.mean(of_splits))


def _interval(runs: Sequence[ProbeRun]) -> tuple[float, float]:
    """Return the 95 % interval in % of one seed, over the sources of all tests."""
    tests = answers(runs)
    low, high = accuracy_interval(tests["right"].to_numpy(), tests["group"])
    return 100 * low, 100 * high
