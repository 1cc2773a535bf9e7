"""`make train`: the rows of a model's table (`rows`) for one dataset, split and seed, in one modality or both; then the report.

Each stage is its own process (`sta-tsn fit`, which anyone can repeat by hand: the command is printed), so that
memory is given back, DDP can launch its ranks and a kill hurts one stage only. A stage whose folder carries the
stamp of the same settings and inputs is not repeated.
"""

import shlex
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

from sta_tsn.artefacts import file_fingerprint, fingerprint
from sta_tsn.configuration import check_arguments
from sta_tsn.datasets import VideoRecord, VideoSplit, moving_only
from sta_tsn.errors import UserError
from sta_tsn.pipeline.data import check_names, open_dataset, prepare_videos
from sta_tsn.pipeline.drawing import Tested
from sta_tsn.pipeline.model_check import check_model
from sta_tsn.pipeline.options import TrainOptions
from sta_tsn.pipeline.settings import check_settings, settings_of_stage
from sta_tsn.pipeline.studies import SKELETON, Row, find_study
from sta_tsn.runs.folder import RunFolder, stage_fingerprint
from sta_tsn.video import FlowStore


def train(options: TrainOptions) -> VideoSplit:
    """`train_all`, then the report; for `two-stream` of RGB, of flow, and of both fused."""
    videos = train_all(options)
    _report(options, videos.test)
    return videos


def train_all(options: TrainOptions) -> VideoSplit:
    """Train and test every row that is not done yet, without a report; returns the videos used."""
    check_names(options)
    check_model(options)
    check_recipes(options)
    manifest = options.place.manifest
    # Whether it can be written is known before minutes of counting frames.
    manifest.parent.mkdir(parents=True, exist_ok=True)
    videos, classes = prepare_videos(options, manifest)
    sides = f"{len(videos.train)} training, {len(videos.val)} validation, {len(videos.test)} test videos"
    print(f"{options.dataset} split {options.split}: {sides}, {len(classes)} classes", flush=True)
    seen = {}
    for modality in find_study(options.model).streams(options.modality):
        seen[modality] = _seen_videos(options, modality, videos)
    for modality in seen:
        _train_rows(replace(options, modality=modality), manifest, seen[modality], classes)
    return videos


def _seen_videos(options: TrainOptions, modality: str, videos: VideoSplit) -> VideoSplit:
    """Raises DatasetError, before anything is trained, where a class has no video with flow."""
    return (
        moving_only(open_dataset(options), options.split, videos, options.allow_missing)
        if modality == "flow"
        else videos
    )


def check_recipes(options: TrainOptions) -> None:
    """Check every key of every row's YAML files and settings before minutes of counting frames."""
    plain = replace(options, settings=())
    study = find_study(options.model)
    stages = []
    for modality in study.streams(options.modality):
        for row in study.rows:
            one = replace(plain, modality=modality)
            stages.append(stage_arguments(row, one, options.place.manifest, videos=""))
    check_settings(options.settings, stages)
    for arguments in stages:
        check_arguments([*arguments, *settings_of_stage(options.settings, arguments)])


def _report(options: TrainOptions, test_videos: list[VideoRecord]) -> None:
    from sta_tsn.report import build_report

    study = find_study(options.model)
    scores: dict[str, dict[str, Path]] = {}
    last: dict[str, RunFolder] = {}
    for modality in study.streams(options.modality):
        scores[modality] = {}
        for row in study.rows:
            run = row.folder(replace(options, modality=modality))
            scores[modality][row.title] = run.scores
            last[modality] = run
    tested = Tested(
        open_dataset(options),
        test_videos,
        checkpoints={modality: run.tested_checkpoint for modality, run in last.items()},
        scores={modality: run.scores for modality, run in last.items()},
        flow=options.place.flow,
    )
    build_report(
        study.title,
        scores,
        partial(study.draw, tested),
        report_folder(options),
        _command(options),
    )


def _command(options: TrainOptions) -> str:
    """Return what to type for these runs again, from where the data already are."""
    return (
        f"sta-tsn train --dataset={options.dataset} --model={options.model} "
        f"--modality={options.modality} --split={options.split} --seed={options.seed}"
    )


def report_folder(options: TrainOptions) -> Path:
    """Return the folder of the report of one split and seed."""
    return options.place.report_of_one(options.model, options.split, options.seed)


def _train_rows(
    options: TrainOptions, manifest: Path, videos: VideoSplit, classes: list[str]
) -> None:
    inputs = fingerprint([videos.fingerprint, classes])
    if options.modality == "flow":
        _finish("The flow", flow_arguments(options))
        flow = FlowStore(options.place.flow)
        inputs = fingerprint([inputs, flow.fingerprint([*videos.train, *videos.val, *videos.test])])
    if options.modality == SKELETON:
        everything = [*videos.train, *videos.val, *videos.test]
        inputs = fingerprint([inputs, [file_fingerprint(record.path) for record in everything]])
    for row in find_study(options.model).rows:
        folder = row.folder(options)
        arguments = stage_arguments(row, options, manifest, inputs)
        if folder.is_done(stage_fingerprint(arguments)):
            print(f"{row.title}: done already ({folder.path})", flush=True)
            continue
        print(
            f"\n=== {row.title}, {options.modality}\n{shlex.join(['sta-tsn', 'fit', *arguments])}",
            flush=True,
        )
        _finish(row.title, ["fit", *arguments])


def _finish(what: str, arguments: list[str]) -> None:
    """Raises UserError where the command failed or was killed."""
    status = _run(arguments)
    if status in (1, 2):
        raise UserError(f"{what} failed; the lines above say why.")
    if status:
        raise UserError(f"{what} did not finish. The same command goes on where it stopped.")


def _run(arguments: list[str]) -> int:
    """`sta-tsn` in a process of its own; on Ctrl-C, which it gets too, and SIGTERM, which is passed on, wait until it has ended cleanly."""
    process = subprocess.Popen([sys.executable, "-m", "sta_tsn", *arguments])

    def pass_on(number: int, frame) -> None:
        process.send_signal(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, pass_on)
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.wait()
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def flow_arguments(options: TrainOptions) -> list[str]:
    """The command line of `sta-tsn flow`."""
    arguments = [
        "flow",
        f"--dataset={options.dataset}",
        f"--split={options.split}",
        f"--runs={options.runs}",
    ]
    arguments += [
        f"--experiments={options.experiments}",
        f"--devices={options.devices}",
        f"--nodes={options.nodes}",
    ]
    return (
        arguments
        + ([f"--data={options.data}"] if options.data else [])
        + (["--allow-missing"] if options.allow_missing else [])
    )


def stage_arguments(row: Row, options: TrainOptions, manifest: Path, videos: str) -> list[str]:
    """Return the command line of `sta-tsn fit` for one row.

    Args:
        row: of the study.
        options: what the user asked for.
        manifest: frame counts of the dataset's videos.
        videos: fingerprint of the split.
    """
    arguments = _recipe_arguments(row, options, manifest, videos)
    settings = list(options.settings)
    if options.workers is not None:
        settings.append(f"data.num_workers={options.workers}")
    return [*arguments, *settings_of_stage(settings, arguments)]


def _recipe_arguments(row: Row, options: TrainOptions, manifest: Path, videos: str) -> list[str]:
    """Return the row's command line without what `--set` says."""
    experiments = Path(options.experiments)
    files = [experiments / row.config, options.recipes / f"{row.stage}.yaml"]
    if options.modality == "flow" and row.stage == "backbone":
        files.append(options.recipes / "flow.yaml")
    own_recipe = options.recipes / f"{options.model}.yaml"  # of every stage one of the model
    if row.stage == "backbone" and own_recipe.exists():
        files.append(own_recipe)
    if row.change:
        files.append(experiments / row.change)
    arguments = [
        *(f"--config={file}" for file in files),
        f"--run_dir={row.folder(options).path}",
        f"--seed_everything={options.seed}",
        f"--trainer.devices={1 if row.stage == 'lstm' and options.devices == 'auto' else options.devices}",
        f"--trainer.num_nodes={options.nodes}",
    ]
    if row.stage == "temporal":
        backbone = row.backbone(options)
        return [
            *arguments,
            f"--data.features={backbone.features}",
            f"--model.backbone_checkpoint={backbone.tested_checkpoint}",
        ]
    if options.modality == "flow":
        arguments += [
            "--model.modality=flow",
            f"--data.flow={options.place.flow}",
        ]
    arguments += [
        f"--videos=v{videos}",
        f"--data.split={options.split}",
    ]  # v: digits alone may read as a number
    if row.stage == "backbone":
        arguments.append(f"--data.manifest={manifest}")
    if options.allow_missing:
        arguments.append("--data.allow_missing=true")
    if options.data:
        arguments.append(f"--data.dataset.init_args.root={options.data}")
    if options.backbone:
        arguments.append(f"--model.backbone={options.backbone}")
    if options.weights:
        arguments.append(f"--model.weights={options.weights}")
    return arguments
