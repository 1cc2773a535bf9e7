"""The tables of a reproduction, from score tables alone: ours beside the paper's, with intervals and significance."""

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
    """One run's answers: which row of the paper's tables, on what, and where it lies (None for a fusion)."""

    row: str
    modality: str
    split: int
    seed: int
    table: ScoreTable
    folder: Path | None


def with_fusions(runs: list[TestedRun]) -> list[TestedRun]:
    """Also the fusion, 1:1 and with learned weights, of every pair of RGB and flow that are equal in the rest."""
    flows = {(run.row, run.split, run.seed): run for run in runs if run.modality == "flow"}
    fused = []
    for run in runs:
        other = flows.get((run.row, run.split, run.seed))
        if run.modality == "rgb" and other:
            joined = two_streams([run.table, other.table])
            fused += [
                run._replace(modality=name, table=table, folder=None)
                for name, table in joined.items()
            ]
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
    """How long a run's training and testing took; a fusion's is its streams'."""
    return round(
        sum(sum(run.get("seconds", {}).values()) for run in protocol.get("fused", [protocol])) / 60,
        1,
    )


def _commits(protocol: dict) -> str:
    return " + ".join(
        dict.fromkeys(str(run["commit"]) for run in protocol.get("fused", [protocol]))
    )


def _sampling(protocol: dict) -> dict[str, int]:
    """Of skeletons nothing is sampled."""
    if "crops" not in protocol:
        return {"views": protocol.get("views", 1)}
    return {
        "frames": protocol["segments"] * protocol["frames_per_segment"],
        "crops": protocol["crops"],
    }


def table_2(runs: list[TestedRun], dataset: str) -> pd.DataFrame:
    """Split 1, rows by modality: mean over seeds, its spread, the 95 % interval for N videos, and the paper's where it has any."""
    cells = {}
    for (row, modality), group in grouped(
        [run for run in runs if run.split == 1], "row", "modality"
    ).items():
        cells.setdefault(row, {})[modality] = _cell(group)
        cells[row][f"{modality}, paper"] = _plain(paper.accuracy_of(dataset, row, modality, 1))
        published = dataset in paper.PUBLISHED_WITH_TOP_5
        if published and TOP_K_NAME in group[0].table.summary:
            cells[row][f"{modality}, top-5"] = _mean_and_spread(
                [run.table.summary[TOP_K_NAME] for run in group]
            )
        if _is_multi_label(group[0].table):
            cells[row][f"{modality}, mAP"] = _mean_and_spread(
                [run.table.summary["mAP %"] for run in group]
            )
            cells[row][f"{modality}, mAP, paper"] = _plain(
                paper.TABLE_2_MAP.get(dataset, {}).get((row, modality))
            )
    table = pd.DataFrame(cells).T.fillna("–")
    return table.drop(
        columns=[name for name in table if name.endswith("paper") and (table[name] == "–").all()]
    )


def table_3(runs: list[TestedRun], dataset: str) -> pd.DataFrame:
    """Each row and modality on each split, mean over seeds, and the mean of the splits that are there with its 95 % interval."""
    lines = {}
    for (row, modality), group in grouped(runs, "row", "modality").items():
        splits = {
            split: np.mean([_accuracy(run) for run in part])
            for (split,), part in grouped(group, "split").items()
        }
        line = {
            f"split {k}": _beside(f"{value:.1f}", paper.accuracy_of(dataset, row, modality, k))
            for k, value in sorted(splits.items())
        }
        mean = (
            f"{np.mean(list(splits.values())):.1f}{_spread_over_seeds(group)} ({_interval(group)})"
        )
        line[f"mean of {len(splits)}"] = _beside(
            mean, paper.mean_of(dataset, row, modality, list(splits))
        )
        lines[f"{row}, {modality}"] = line
    table = pd.DataFrame(lines).T.fillna("–")
    return table[
        sorted(table, key=lambda name: (name.startswith("mean"), name))
    ]  # the rows may have different splits


def competitors(runs: list[TestedRun], dataset: str) -> pd.DataFrame:
    """The paper's Tables 4 to 6 for this dataset, the last line ours; empty where it has none."""
    ours, splits = {}, {}
    for (modality,), part in grouped(runs, "modality").items():
        of_splits = [
            np.mean([_accuracy(run) for run in one]) for one in grouped(part, "split").values()
        ]
        ours[modality], splits[modality] = np.mean(of_splits), len(of_splits)
    lines = {
        name: dict(zip(paper.MODALITIES, map(_plain, numbers), strict=True))
        for name, numbers in paper.COMPETITORS[dataset].items()
    }
    lines["STA-TSN, the paper's (mean of 3 splits)"] = dict(
        zip(paper.MODALITIES, map(_plain, paper.TABLE_3_MEAN[dataset]), strict=True)
    )
    count = " / ".join(dict.fromkeys(str(number) for number in splits.values()))
    lines[f"STA-TSN, ours (mean of {count} split{'s' * (count != '1')})"] = {
        modality: _plain(ours.get(modality)) for modality in paper.MODALITIES
    }
    return pd.DataFrame(lines).T


def differences(runs: list[TestedRun], beside: dict[str, str] | None = None) -> pd.DataFrame:
    """Each row and the one above it that this modality has, or the one that `beside` names, on the same videos.

    Each video of each split that both rows have counts once, as in the mean of the splits, with its mean over their seeds. Points,
    with the 95 % interval from low to high.
    """
    lines = []
    for modality in dict.fromkeys(run.modality for run in runs):
        answers = {
            row: _answers(group)
            for (row,), group in grouped(
                [run for run in runs if run.modality == modality], "row"
            ).items()
        }
        for above, second in pairwise(answers):
            first = (beside or {}).get(second, above)
            if first not in answers:
                continue
            both = (
                answers[first]
                .join(answers[second]["right"].rename("second"), how="inner")
                .groupby(["split", "video"])
            )
            both = both.agg({"group": "first", "right": "mean", "second": "mean"}).dropna()
            if both.empty:
                continue
            found = compared(both["right"], both["second"], both["group"])
            lines.append({"modality": modality, "from": first, "to": second, **found})
    return pd.DataFrame(lines)


def compared(first: pd.Series, second: pd.Series, groups: pd.Series) -> dict:
    """Columns of a table that say how much better the second is in the same tests of videos, in points.

    Args:
        first, second: (V,) shares of 1; groups: (V,) the videos' sources; see `paired_difference`.
    """
    found = paired_difference(first.to_numpy(), second.to_numpy(), groups)
    points, low, high = (round(100 * value, 2) for value in (found.mean, found.low, found.high))
    verdict = "significant" if found.significant else "not significant"
    counts = {"tests": len(first), "sources": groups.nunique()}
    return {
        "points": points,
        "low": low,
        "high": high,
        "p": round(found.p, 4),
        "at 5 %": verdict,
        **counts,
    }


def _answers(runs: list[TestedRun]) -> pd.DataFrame:
    """Index split, seed, video; `group`, its source, and `right`: 1, 0, NaN for a video without a class."""
    lines = [
        pd.DataFrame(
            {
                "split": run.split,
                "seed": run.seed,
                "video": run.table.ids,
                "group": run.table.groups,
                "right": _right(run),
            }
        )
        for run in runs
    ]
    return pd.concat(lines).set_index(["split", "seed", "video"])


def grouped(runs: list[TestedRun], *names: str) -> dict[tuple, list[TestedRun]]:
    """Runs that have the same values of these fields, by those, in the order of the first of each."""
    groups: dict[tuple, list] = {}
    for run in runs:
        groups.setdefault(tuple(getattr(run, name) for name in names), []).append(run)
    return groups


def _right(run: TestedRun) -> np.ndarray:
    return is_right(run.table.scores, run.table.labels).numpy()


def _accuracy(run: TestedRun) -> float:
    return run.table.summary["micro accuracy %"]


def _is_multi_label(table: ScoreTable) -> bool:
    return bool((table.labels.sum(1) != 1).any())


def _cell(group: list[TestedRun]) -> str:
    return f"{_mean_and_spread([_accuracy(run) for run in group])} ({_interval(group)})"


def _interval(group: list[TestedRun]) -> str:
    """95 % of one row and modality; each video of each split counts once, with its mean over seeds."""
    tests = (
        _answers(group)
        .dropna()
        .groupby(["split", "video"])
        .agg({"group": "first", "right": "mean"})
    )
    low, high = accuracy_interval(tests["right"].to_numpy(), tests["group"])
    return f"{100 * low:.1f} to {100 * high:.1f}"


def _mean_and_spread(values: list[float]) -> str:
    return f"{np.mean(values):.1f}" + (
        f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
    )


def _plain(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _beside(ours: str, theirs: float | None) -> str:
    return ours if theirs is None else f"{ours} (paper {theirs:.1f})"


def _spread_over_seeds(runs: list[TestedRun]) -> str:
    """Standard deviation of the seeds' means over the splits, where every seed has every split."""
    seeds = list(grouped(runs, "seed").values())
    if len(seeds) < 2 or len({frozenset(run.split for run in one) for one in seeds}) > 1:
        return ""
    return f" ± {np.std([np.mean([_accuracy(run) for run in one]) for one in seeds], ddof=1):.1f}"
