"""The tables of a reproduction, from score tables alone.

Ours beside the paper's, with intervals and significance.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from sta_tsn.evaluation import ScoreTable, two_streams
from sta_tsn.evaluation.metrics import is_right
from sta_tsn.evaluation.scores import TOP_K_NAME
from sta_tsn.evaluation.statistics import accuracy_interval, paired_difference
from sta_tsn.report import paper


class TestedRun(NamedTuple):
    """One run's answers.

    row: of the paper's tables. table: the answers. folder: where the run lies; None for a fusion.
    """

    row: str
    modality: str
    split: int
    seed: int
    table: ScoreTable
    folder: Path | None


def with_fusions(runs: list[TestedRun]) -> list[TestedRun]:
    """Return the runs and the fusions of every pair of RGB and flow that are equal in the rest.

    1:1, and with learned weights.
    """
    flows = {(run.row, run.split, run.seed): run for run in runs if run.modality == "flow"}
    fused = []
    for run in runs:
        other = flows.get((run.row, run.split, run.seed))
        if run.modality != "rgb" or not other:
            continue
        for name, table in two_streams([run.table, other.table]).items():
            fused.append(run._replace(modality=name, table=table, folder=None))
    return [*runs, *fused]


def runs_table(runs: list[TestedRun]) -> pd.DataFrame:
    """Return every run with its numbers and its protocol: what all other tables come from."""
    lines = []
    for run in runs:
        protocol = run.table.protocol
        line = {"row": run.row, "modality": run.modality, "split": run.split, "seed": run.seed}
        line |= run.table.summary
        line["minutes"] = minutes(protocol)
        line |= _sampling(protocol)
        line["missing"] = protocol["missing"]
        line["commit"] = _commits(protocol)
        if "share_judged_false" in protocol:
            line["frames judged false, share"] = protocol["share_judged_false"]
        if protocol.get("l_mse") is not None:
            line["l_MSE at the end"] = f"{protocol['l_mse']:.2g}"
        lines.append(line)
    table = pd.DataFrame(lines)
    # Not every row is trained with that judgement.
    for name in ("frames judged false, share", "l_MSE at the end"):
        if name in table:
            judged = table[name].astype(object)
            table[name] = judged.where(judged.notna(), "–")
    return table


def best_and_interval(runs: list[TestedRun], last: str) -> tuple[str, str]:
    """Return the best line of Table 3 ("row, modality") and a sentence on the last row's result.

    Only lines with as many splits as the most complete one are compared.
    """
    lines = {}
    for key, group in grouped(runs, "row", "modality").items():
        by_split = grouped(group, "split").values()
        means = [np.mean([_accuracy(run) for run in part]) for part in by_split]
        lines[key] = (len(means), np.mean(means), group)
    most = max(count for count, _, _ in lines.values())
    complete = {key: line for key, line in lines.items() if line[0] == most}
    # Of equal ones the last row's: it is the model that the report is about.
    best = max(complete, key=lambda key: (complete[key][1], key[0] == last))
    own = {key: line for key, line in complete.items() if key[0] == last}
    row, modality = max(own or complete, key=lambda key: complete[key][1])
    _, mean, group = complete[row, modality]
    num_seeds = len({run.seed for run in group})
    verdict = (
        f"**{row}, {modality}: {mean:.1f} %** of the test videos are recognised (95 % interval "
        f"{_interval(group)} %; {_counted(most, 'split')}, {_counted(num_seeds, 'seed')})."
    )
    if complete[best][1] > mean:
        verdict += f" Best: {', '.join(best)}, {complete[best][1]:.1f} %."
    return ", ".join(best), verdict


def _counted(number: int, name: str) -> str:
    return f"{number} {name}" if number == 1 else f"{number} {name}s"


def minutes(protocol: dict) -> float:
    """Return how long a run's training and testing took; a fusion's is its streams'."""
    seconds = 0.0
    for run in protocol.get("fused", [protocol]):
        seconds += sum(run.get("seconds", {}).values())
    return round(seconds / 60, 1)


def _commits(protocol: dict) -> str:
    commits = [str(run["commit"]) for run in protocol.get("fused", [protocol])]
    return " + ".join(dict.fromkeys(commits))


def _sampling(protocol: dict) -> dict[str, int]:
    """Return how videos were sampled; of skeletons nothing is."""
    if "crops" not in protocol:
        return {"views": protocol.get("views", 1)}
    return {
        "frames": protocol["segments"] * protocol["frames_per_segment"],
        "crops": protocol["crops"],
    }


def table_2(runs: list[TestedRun], dataset: str) -> pd.DataFrame:
    """Return the rows on split 1 by modality.

    Mean over seeds, its spread, the 95 % interval for N videos, and the paper's where it has any.
    """
    first = [run for run in runs if run.split == 1]
    cells: dict[str, dict[str, str]] = {}
    for (row, modality), group in grouped(first, "row", "modality").items():
        line = cells.setdefault(row, {})
        line[modality] = _cell(group)
        line[f"{modality}, paper"] = _plain(paper.accuracy_of(dataset, row, modality, 1))
        published = dataset in paper.PUBLISHED_WITH_TOP_5
        if published and TOP_K_NAME in group[0].table.summary:
            ours = [run.table.summary[TOP_K_NAME] for run in group]
            line[f"{modality}, top-5"] = _mean_and_spread(ours)
        if _is_multi_label(group[0].table):
            ours = [run.table.summary["mAP %"] for run in group]
            theirs = paper.TABLE_2_MAP.get(dataset, {}).get((row, modality))
            line[f"{modality}, mAP"] = _mean_and_spread(ours)
            line[f"{modality}, mAP, paper"] = _plain(theirs)
    table = pd.DataFrame(cells).T.fillna("–")
    unprinted = [name for name in table if name.endswith("paper") and (table[name] == "–").all()]
    return table.drop(columns=unprinted)


def table_3(runs: list[TestedRun], dataset: str) -> pd.DataFrame:
    """Return each row and modality on each split, and the mean of the splits that are there.

    Mean over seeds; behind the mean of the splits its 95 % interval.
    """
    lines = {}
    for (row, modality), group in grouped(runs, "row", "modality").items():
        splits = {}
        for (split,), part in sorted(grouped(group, "split").items()):
            splits[split] = np.mean([_accuracy(run) for run in part])
        line = {}
        for split, value in splits.items():
            theirs = paper.accuracy_of(dataset, row, modality, split)
            line[f"split {split}"] = _beside(f"{value:.1f}", theirs)
        mean = np.mean(list(splits.values()))
        ours = f"{mean:.1f}{_spread_over_seeds(group)} ({_interval(group)})"
        theirs = paper.mean_of(dataset, row, modality, list(splits))
        line[f"mean of {len(splits)}"] = _beside(ours, theirs)
        lines[f"{row}, {modality}"] = line
    table = pd.DataFrame(lines).T.fillna("–")
    # The rows may have different splits.
    return table[sorted(table, key=lambda name: (name.startswith("mean"), name))]


def competitors(runs: list[TestedRun], dataset: str) -> pd.DataFrame:
    """Return the paper's Tables 4 to 6 for this dataset, the last line ours.

    Raises:
        KeyError: the paper has none for the dataset.
    """
    ours = {}
    num_splits = {}
    for (modality,), part in grouped(runs, "modality").items():
        of_splits = []
        for group in grouped(part, "split").values():
            of_splits.append(np.mean([_accuracy(run) for run in group]))
        ours[modality] = np.mean(of_splits)
        num_splits[modality] = len(of_splits)
    lines = {}
    for name, numbers in paper.COMPETITORS[dataset].items():
        lines[name] = _by_modality(numbers)
    lines["STA-TSN, the paper's (mean of 3 splits)"] = _by_modality(paper.TABLE_3_MEAN[dataset])
    count = " / ".join(dict.fromkeys(str(number) for number in num_splits.values()))
    splits = "split" if count == "1" else "splits"
    own = [ours.get(modality) for modality in paper.MODALITIES]
    lines[f"STA-TSN, ours (mean of {count} {splits})"] = _by_modality(own)
    return pd.DataFrame(lines).T


def _by_modality(numbers: Sequence[float | None]) -> dict[str, str]:
    return dict(zip(paper.MODALITIES, map(_plain, numbers), strict=True))


def differences(runs: list[TestedRun], beside: dict[str, str] | None = None) -> pd.DataFrame:
    """Return each row beside another on the same videos, in points.

    Each video of each split that both rows have counts once, as in the mean of the splits, with its
    mean over their seeds. The 95 % interval goes from low to high.

    Args:
        runs: rows in the table's order.
        beside: the row that a row is compared with; else the one above it that this modality has.
    """
    beside = beside or {}
    lines = []
    for (modality,), of_modality in grouped(runs, "modality").items():
        answers = {}
        for (row,), group in grouped(of_modality, "row").items():
            answers[row] = _answers(group)
        for above, second in pairwise(answers):
            first = beside.get(second, above)
            if first not in answers:
                continue
            after = answers[second]["right"].rename("second")
            both = answers[first].join(after, how="inner").groupby(["split", "video"])
            both = both.agg({"group": "first", "right": "mean", "second": "mean"}).dropna()
            if both.empty:
                continue
            found = compared(both["right"], both["second"], both["group"])
            lines.append({"modality": modality, "from": first, "to": second, **found})
    return pd.DataFrame(lines)


def compared(first: pd.Series, second: pd.Series, groups: pd.Series) -> dict:
    """Return columns that say how much better the second is in the same tests of videos, in points.

    Args:
        first: (V,) shares of 1.
        second: (V,) shares of 1.
        groups: (V,) the videos' sources; see `paired_difference`.
    """
    found = paired_difference(first.to_numpy(), second.to_numpy(), groups)
    return {
        "points": round(100 * found.mean, 2),
        "low": round(100 * found.low, 2),
        "high": round(100 * found.high, 2),
        "p": round(found.p, 4),
        "at 5 %": "significant" if found.significant else "not significant",
        "tests": len(first),
        "sources": groups.nunique(),
    }


def _answers(runs: list[TestedRun]) -> pd.DataFrame:
    """Return what each run said of each video, by split, seed and video.

    `group`, its source, and `right`: 1, 0, NaN for a video without a class.
    """
    lines = []
    for run in runs:
        columns = {
            "split": run.split,
            "seed": run.seed,
            "video": run.table.ids,
            "group": run.table.groups,
            "right": is_right(run.table.scores, run.table.labels).numpy(),
        }
        lines.append(pd.DataFrame(columns))
    return pd.concat(lines).set_index(["split", "seed", "video"])


def grouped(runs: list[TestedRun], *names: str) -> dict[tuple, list[TestedRun]]:
    """Return runs that have the same values of these fields, by those, first come first."""
    groups: dict[tuple, list] = {}
    for run in runs:
        groups.setdefault(tuple(getattr(run, name) for name in names), []).append(run)
    return groups


def _accuracy(run: TestedRun) -> float:
    return run.table.summary["micro accuracy %"]


def _is_multi_label(table: ScoreTable) -> bool:
    return bool((table.labels.sum(1) != 1).any())


def _cell(group: list[TestedRun]) -> str:
    return f"{_mean_and_spread([_accuracy(run) for run in group])} ({_interval(group)})"


def _interval(group: list[TestedRun]) -> str:
    """Return the 95 % interval of one row and modality.

    Each video of each split counts once, with its mean over seeds.
    """
    tests = _answers(group).dropna().groupby(["split", "video"])
    tests = tests.agg({"group": "first", "right": "mean"})
    low, high = accuracy_interval(tests["right"].to_numpy(), tests["group"])
    return f"{100 * low:.1f} to {100 * high:.1f}"


def _mean_and_spread(values: list[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.1f}"
    return f"{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f}"


def _plain(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _beside(ours: str, theirs: float | None) -> str:
    return ours if theirs is None else f"{ours} (paper {theirs:.1f})"


def _spread_over_seeds(runs: list[TestedRun]) -> str:
    """Return the standard deviation of the seeds' means, where every seed has every split."""
    seeds = list(grouped(runs, "seed").values())
    splits = {frozenset(run.split for run in one) for one in seeds}
    if len(seeds) < 2 or len(splits) > 1:
        return ""
    means = [np.mean([_accuracy(run) for run in one]) for one in seeds]
    return f" ± {np.std(means, ddof=1):.1f}"
