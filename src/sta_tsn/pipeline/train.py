"""Training: the rows of a study for one split and seed, in one modality or both; the report.

Each stage is its own process (`sta-tsn fit`, which anyone can repeat by hand: the command is
printed), forked from one that has imported everything (`stage_process`): memory is given back, DDP
can launch its ranks and a kill hurts one stage only. A stage whose folder carries the stamp of the
same settings and inputs is not repeated.
"""

import shlex
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from sta_tsn.artefacts import file_fingerprint, fingerprint
from sta_tsn.datasets import VideoDataset, VideoSplit, moving_only
from sta_tsn.errors import UserError
from sta_tsn.pipeline.data import check_names, open_dataset, prepare_videos
from sta_tsn.pipeline.drawing import Tested
from sta_tsn.pipeline.model_check import check_model
from sta_tsn.pipeline.options import TrainOptions
from sta_tsn.pipeline.stage_process import run_command
from sta_tsn.pipeline.stages import Stage, flow_arguments, plan_stages
from sta_tsn.pipeline.studies import SKELETON, find_study
from sta_tsn.runs.folder import RunFolder, stage_fingerprint
from sta_tsn.training.dry_run import without_dry_run
from sta_tsn.video import FlowStore


def train(options: TrainOptions, dataset: VideoDataset | None = None) -> VideoSplit:
    """Train and test as `train_all` does, then write the report of RGB, of flow, of both fused.

    With the setting trainer.fast_dev_run=true every row does so on a few batches and videos, and
    nothing is kept.

    Args:
        options: what the user asked for.
        dataset: that the options name, where it is open already.
    """
    stages = _checked_stages(options)
    dataset = dataset or open_dataset(options)
    _, num_dry_batches = without_dry_run(list(options.settings))
    if num_dry_batches:
        return _dry_run(options, dataset)
    return _train_and_report(options, stages, dataset)


def _train_and_report(
    options: TrainOptions, stages: list[Stage], dataset: VideoDataset
) -> VideoSplit:
    videos = _train_stages(options, stages, dataset)
    _report(options, dataset, videos)
    return videos


def _dry_run(options: TrainOptions, dataset: VideoDataset) -> VideoSplit:
    """Go the whole road in a folder that is thrown away; frame counts and flow are kept."""
    place = options.place
    place.path.mkdir(parents=True, exist_ok=True)
    videos = prepare_videos(options, dataset)
    with TemporaryDirectory(prefix=".dry-run-", dir=options.runs) as folder:
        dry = replace(options, runs=folder)
        dry.place.path.mkdir()
        if place.manifest.exists():
            shutil.copy(place.manifest, dry.place.manifest)
        if options.modality != "rgb":
            place.flow.mkdir(exist_ok=True)
            dry.place.flow.symlink_to(place.flow.resolve())
        _train_and_report(dry, _checked_stages(dry), dataset)
    print(
        "Dry run: every row was trained, tested and reported on a few videos; the numbers mean "
        "nothing, and nothing is kept.",
        flush=True,
    )
    return videos


def train_all(options: TrainOptions, dataset: VideoDataset) -> VideoSplit:
    """Train and test every row that is not done yet; return the videos used.

    Args:
        options: what the user asked for.
        dataset: that the options name.

    Raises:
        UserError: names, recipes, data or a stage are wrong, or a stage was interrupted.
    """
    return _train_stages(options, _checked_stages(options), dataset)


def _checked_stages(options: TrainOptions) -> list[Stage]:
    """Return the study's stages; whatever can be wrong without the data is said here."""
    check_names(options)
    check_model(options)
    return plan_stages(options)


def _train_stages(options: TrainOptions, stages: list[Stage], dataset: VideoDataset) -> VideoSplit:
    # Whether it can be written is known before minutes of counting frames.
    options.place.path.mkdir(parents=True, exist_ok=True)
    videos = prepare_videos(options, dataset)
    print(
        f"{options.dataset} split {options.split}: {len(videos.train)} training, "
        f"{len(videos.val)} validation, {len(videos.test)} test videos, "
        f"{len(dataset.classes)} classes",
        flush=True,
    )
    seen = {}
    for modality in find_study(options.model).streams(options.modality):
        seen[modality] = _seen_videos(options, modality, dataset, videos)
    for modality in seen:
        of_modality = [stage for stage in stages if stage.modality == modality]
        inputs = _inputs(options, modality, seen[modality], dataset.classes)
        for stage in of_modality:
            _train_stage(stage, inputs)
    return videos


def _seen_videos(
    options: TrainOptions, modality: str, dataset: VideoDataset, videos: VideoSplit
) -> VideoSplit:
    """Return the videos that have the modality, before anything is trained.

    Raises:
        DatasetError: a class has no video with flow.
    """
    if modality == "flow":
        return moving_only(dataset, options.split, videos, options.allow_missing)
    return videos


def _inputs(options: TrainOptions, modality: str, videos: VideoSplit, classes: list[str]) -> str:
    """Return the fingerprint of what stages learn from; flow that is not there yet is extracted."""
    inputs = fingerprint([videos.fingerprint, classes])
    everything = [*videos.train, *videos.val, *videos.test]
    if modality == "flow":
        _finish("The flow", flow_arguments(options))
        flow = FlowStore(options.place.flow)
        return fingerprint([inputs, flow.fingerprint(everything)])
    if modality == SKELETON:
        files = [file_fingerprint(record.path) for record in everything]
        return fingerprint([inputs, files])
    return inputs


def _train_stage(stage: Stage, inputs: str) -> None:
    """Train and test one stage in a process of its own, unless that is done."""
    arguments = stage.command(inputs)
    if stage.folder.is_done(stage_fingerprint(arguments)):
        print(f"{stage.title}: done already ({stage.folder.path})", flush=True)
        return
    command = shlex.join(["sta-tsn", "fit", *arguments])
    print(f"\n=== {stage.title}, {stage.modality}\n{command}", flush=True)
    _finish(stage.title, ["fit", *arguments])


def _finish(what: str, arguments: list[str]) -> None:
    """Run `sta-tsn` to its end.

    Raises:
        UserError: the command failed or was killed.
    """
    status = run_command(arguments)
    if status in (1, 2):
        raise UserError(f"{what} failed; the lines above say why.")
    if status:
        raise UserError(f"{what} did not finish. The same command goes on where it stopped.")


def _report(options: TrainOptions, dataset: VideoDataset, videos: VideoSplit) -> None:
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
        dataset,
        videos.test,
        checkpoints={modality: run.tested_checkpoint for modality, run in last.items()},
        scores={modality: run.scores for modality, run in last.items()},
        flow=options.place.flow,
    )
    build_report(
        study.title,
        scores,
        partial(study.draw, tested),
        options.place.report_of_one(options.model, options.split, options.seed),
        _command(options),
        tested.clips.of_ids if study.sees == "videos" else None,
    )


def _command(options: TrainOptions) -> str:
    """Return what to type for these runs again, from where the data already are."""
    parts = [
        "sta-tsn train",
        f"--dataset={options.dataset}",
        f"--model={options.model}",
        f"--modality={options.modality}",
        f"--split={options.split}",
        f"--seed={options.seed}",
    ]
    if options.backbone:
        parts.append(f"--backbone={options.backbone}")
    if options.epochs is not None:
        parts.append(f"--epochs={options.epochs}")
    if options.settings:
        parts.append(f"--set {shlex.join(options.settings)}")
    return " ".join(parts)
