"""Whole tables: every row, modality, split and seed that is not done yet, then the report.

The attention of the model itself is scored where its study says so; the report alone is rebuilt
from what is there.
"""

from collections.abc import Sequence
from dataclasses import replace

from sta_tsn.errors import UserError, unknown
from sta_tsn.evaluation import ScoreTable
from sta_tsn.pipeline.attention_scores import score_attention
from sta_tsn.pipeline.data import check_names, open_dataset
from sta_tsn.pipeline.options import TrainOptions
from sta_tsn.pipeline.studies import Row, find_study
from sta_tsn.pipeline.train import train, train_all
from sta_tsn.report.reproduction import build_reproduction
from sta_tsn.report.tables import TestedRun
from sta_tsn.runs.layout import DatasetRuns, run_identity
from sta_tsn.video import FlowStore


def reproduce(options: TrainOptions, splits: Sequence[int] | None, seeds: Sequence[int]) -> None:
    """Train and test every row for every split and seed, score attention, write the report.

    Seeds beyond the first come last, so that the first whole table is there as early as possible.

    Args:
        options: what the user asked for.
        splits: official splits, 1-based. None: the first, or all of a dataset whose folds make one
            result.
        seeds: of everything random.

    Raises:
        UserError: names, recipes, data or a stage are wrong, or a stage was interrupted.
    """
    study = find_study(options.model)
    if study.own_way:
        study.own_way.reproduce(options, splits, seeds)
        return
    for seed in seeds:
        check_names(replace(options, seed=seed))
    dataset = open_dataset(options)
    if not splits:
        last_split = dataset.num_splits if dataset.cross_validated else 1
        splits = range(1, last_split + 1)
    for split in splits:
        dataset.check_split(split)
    first = replace(options, split=splits[0], seed=seeds[0])
    for seed in seeds:
        for split in splits:
            one = replace(options, split=split, seed=seed)
            print(f"\n##### split {split}, seed {seed}", flush=True)
            videos = train(one, dataset) if one == first else train_all(one, dataset)
            if not study.measures_attention:
                continue
            for modality in study.streams(one.modality):
                flow = None
                if modality == "flow":
                    flow = FlowStore(options.place.flow)
                run = study.rows[-1].folder(replace(one, modality=modality))
                score_attention(run, dataset, videos.test, flow)
    report(options)


def report(options: TrainOptions) -> None:
    """Rebuild every table and figure from those score tables of the study that are there.

    Raises:
        UserError: there is none.
    """
    study = find_study(options.model)
    if study.own_way:
        study.own_way.report(options)
        return
    root = options.place.path
    folder = options.place.report(options.model)
    runs: list[TestedRun] = []
    for row in study.rows:
        for modality in study.streams("two-stream"):
            runs += _tested(options.place, row, modality)
    others = [path.name for path in root.parent.glob("*") if any(path.glob("split*"))]
    if not root.is_dir() and others:
        raise unknown(f"dataset (in {root.parent})", options.dataset, others)
    if not runs:
        raise UserError(
            f"No tested run below {root.resolve()}: sta-tsn reproduce --model={options.model} "
            f"--dataset={options.dataset} makes them."
        )
    command = f"sta-tsn report --model={options.model} --dataset={options.dataset}"
    drawn = sorted(folder.glob("*/*/attention_*.[jp][pn]g"))
    pictures = [path for path in drawn if path.parent == drawn[0].parent]
    beside = {row.title: row.beside for row in study.rows if row.beside}
    changed = {row.title for row in study.rows if row.change}
    unchanged = [run.row for run in runs if run.row not in changed]
    last = unchanged[-1] if unchanged else ""
    page = build_reproduction(runs, options.dataset, command, pictures, folder, beside, last)
    print(
        f"{len(runs)} runs. Report: {page.resolve()}, report.md and the tables as CSV beside it",
        flush=True,
    )


def _tested(place: DatasetRuns, row: Row, modality: str) -> list[TestedRun]:
    """Return the tested runs of a row.

    Raises:
        UserError: a score table is of another split or seed than its folder.
    """
    found = []
    for path in place.tested(row.model, modality, row.stage):
        identity = run_identity(path.parent)
        if not identity:  # a copy: seed0.bak
            continue
        table = ScoreTable.load(path)
        split = table.protocol.get("split")
        seed = table.protocol.get("seed")
        moved = (split, seed) != (identity["split"], identity["seed"])
        if moved or "missing" not in table.protocol:
            raise UserError(
                f"{path} is of split {split}, seed {seed}: a copy, or no tested run. Move it away."
            )
        found.append(TestedRun(row.title, modality, split, seed, table, path.parent))
    return found
