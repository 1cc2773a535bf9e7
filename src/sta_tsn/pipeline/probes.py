"""`make train MODEL=probe`: heads on one store of frozen features, compared on the same videos.

The features are made where they are missing. Every head is a stage of its own (`sta-tsn fit`, whose
command is printed), but all of them run in this process: they take seconds.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sta_tsn.artefacts import read_json
from sta_tsn.configuration import check_arguments
from sta_tsn.errors import ConfigError, UserError
from sta_tsn.evaluation import ScoreTable
from sta_tsn.features import FeatureStore
from sta_tsn.features.feature_store import STORE_FILE
from sta_tsn.pipeline.frozen import StoreOptions, check_encoder, store_features, store_of
from sta_tsn.pipeline.options import TrainOptions
from sta_tsn.pipeline.settings import check_settings, settings_of_stage
from sta_tsn.report.probes import ProbeRun, build_probe_report
from sta_tsn.runs.folder import RunFolder, stage_fingerprint
from sta_tsn.runs.layout import run_identity

STAGE = "probe"
SHOTS = "_shots"  # ends the run's model where few labels were learned from: linear_5_shots


@dataclass(frozen=True)
class Head:
    """One row of the study.

    Attributes:
        title: in the report.
        name: of its run's folder, and of its YAML file in `experiments/models/probe`.
        sees_maps: whether it needs the maps of the frames.
    """

    title: str
    name: str
    sees_maps: bool = False


HEADS = (
    Head("mean + linear", "linear"),
    Head("nearest neighbours", "neighbours"),
    Head("attentive pooling", "attentive"),
    Head("attentive pooling, positions", "attentive_positions"),
    Head("β (STA-TSN's LSTM)", "key_frames"),
    Head("α on maps + β (STA-TSN)", "focus", sees_maps=True),
)
OF_FEW_LABELS = ("linear", "neighbours", "attentive", "key_frames")


def train_probes(options: TrainOptions) -> None:
    """Train and test every head on one split, then report; see `reproduce_probes`."""
    reproduce_probes(options, [options.split], [options.seed])


def reproduce_probes(
    options: TrainOptions, splits: Sequence[int] | None, seeds: Sequence[int]
) -> None:
    """Train and test every head for every split and seed that is not done, then report.

    Args:
        options: what the user asked for. With `features` that store is read; else the store of
            `backbone`, which is filled first. With `shots` the heads learn from so few labelled
            videos of each class instead; a seed is then a draw of them, too.
        splits: official splits, 1-based; the first where None.
        seeds: of the order of videos, and of what begins at random.

    Raises:
        ConfigError: names, recipes or settings are wrong.
        UserError: the features are not there or do not fit.
    """
    splits = splits or [1]
    store = open_store(options, splits)
    about = store.about
    options = replace(options, dataset=about["dataset"])
    heads = [head for head in HEADS if _is_possible(head, about["kept"])]
    stages = []
    for seed in seeds:
        for split in splits:
            one = replace(options, split=split, seed=seed)
            if not options.shots:
                stages += [(head, one, None) for head in heads]
            for shots in options.shots:
                few = [head for head in heads if head.name in OF_FEW_LABELS]
                stages += [(head, one, shots) for head in few]
    commands = [(head, head_arguments(head, one, store, shots)) for head, one, shots in stages]
    plain = replace(options, settings=())
    check_settings(options.settings, [head_arguments(head, plain, store) for head in heads])
    for _, arguments in commands:
        check_arguments(arguments)
    for head, arguments in commands:
        _train(head, arguments)
    report_probes(options)


def open_store(options: TrainOptions, splits: Sequence[int]) -> FeatureStore:
    """Return the store that the options name; one of a timm backbone is filled first.

    Raises:
        UserError: it is not there, or was not made by a frozen encoder or an import.
        ConfigError: neither a store nor a backbone is named.
    """
    if options.features:
        store = FeatureStore(options.features)
        if "encoder" not in store.about:
            raise UserError(
                f"{store.folder.resolve()} holds features of a trained stage one, of one split. "
                "Heads are compared on those of a frozen encoder: sta-tsn features --backbone."
            )
        return store
    check_encoder(options)
    if not options.backbone:
        raise ConfigError(
            "model=probe wants backbone=<timm name>, or features=<store> of features there are."
        )
    there = read_json(store_of(options) / STORE_FILE)
    segments = there["frames"][0] if "frames" in there else None
    stored = StoreOptions(
        there.get("kept", "pooled"),
        there.get("crops", 1),
        splits=tuple(splits),
        segments=segments,
    )
    return FeatureStore(store_features(options, stored))


def _is_possible(head: Head, kept: str) -> bool:
    if not head.sees_maps or kept in ("map", "both"):
        return kept != "map" or head.sees_maps
    print(f"{head.title}: left out, the store has no maps (KEPT=both makes them).", flush=True)
    return False


def head_arguments(
    head: Head, options: TrainOptions, store: FeatureStore, shots: int | None = None
) -> list[str]:
    """Return the command line of `sta-tsn fit` for one head, each argument as `--name=value`.

    Args:
        head: of the study.
        options: what the user asked for.
        store: of the features.
        shots: labelled videos of each class; all where None.
    """
    model = head.name if shots is None else f"{head.name}_{shots}{SHOTS}"
    encoder = store.folder.name
    run = options.place.run(options.split, f"probe_{model}", encoder, options.seed, STAGE)
    files = [Path(options.experiments, "models", "probe", f"{head.name}.yaml")]
    of_dataset = options.recipes / "probe.yaml"
    if of_dataset.exists():
        files.append(of_dataset)
    arguments = [f"--config={file}" for file in files]
    arguments += [
        f"--run_dir={run}",
        f"--seed_everything={options.seed}",
        "--trainer.devices=1",  # heads are too small to be shared out
        f"--data.features={store.folder}",
        f"--data.split={options.split}",
    ]
    if shots is not None:
        arguments.append(f"--data.shots={shots}")
    return [*arguments, *settings_of_stage(options.stage_settings, arguments)]


def _train(head: Head, arguments: list[str]) -> None:
    from sta_tsn.training.stage import fit_and_test

    run_dir = next(one for one in arguments if one.startswith("--run_dir="))
    folder = RunFolder(run_dir.partition("=")[2])
    if folder.is_done(stage_fingerprint(arguments)):
        print(f"{head.title}: done already ({folder.path})", flush=True)
        return
    print(f"\n=== {head.title}\n{shlex.join(['sta-tsn', 'fit', *arguments])}", flush=True)
    fit_and_test(arguments)
    import wandb  # has been imported by the run

    if wandb.run is not None:
        wandb.finish()  # else the next head of this process would log into this one's run


def report_probes(options: TrainOptions) -> None:
    """Rebuild the report from the score tables that are there, of every encoder.

    Raises:
        UserError: there is none.
    """
    place = options.place
    runs: list[ProbeRun] = []
    for head in HEADS:
        runs += _tested(place.tested(f"probe_{head.name}", "*", STAGE), head, None)
        for path in place.tested(f"probe_{head.name}_*{SHOTS}", "*", STAGE):
            model = run_identity(path.parent)["model"].removesuffix(SHOTS)
            shots = model.removeprefix(f"probe_{head.name}_")
            if shots.isdigit():  # else a head whose name begins like this one's
                runs += _tested([path], head, int(shots))
    if not runs:
        raise UserError(
            f"No tested head below {place.path.resolve()}: sta-tsn train --model=probe "
            f"--dataset={options.dataset} --backbone=<timm name> makes some."
        )
    command = f"sta-tsn report --model=probe --dataset={options.dataset}"
    page = build_probe_report(runs, options.dataset, command, place.report("probe"))
    print(f"{len(runs)} tested heads. Report: {page.resolve()}", flush=True)


def _tested(paths: Sequence[Path], head: Head, shots: int | None) -> list[ProbeRun]:
    found = []
    for path in paths:
        identity = run_identity(path.parent)
        if identity:
            table = ScoreTable.load(path)
            encoder, split, seed = (identity[name] for name in ("modality", "split", "seed"))
            found.append(ProbeRun(head.title, encoder, split, seed, table, path.parent, shots))
    return found
