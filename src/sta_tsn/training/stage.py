"""One stage of training from start to score table: fit, features, test.

Every step goes on where it stopped.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from sta_tsn.artefacts import check_checkpoint, file_fingerprint, load_checkpoint
from sta_tsn.configuration import check_arguments, check_class_paths
from sta_tsn.errors import UserError
from sta_tsn.evaluation import ScoreTable
from sta_tsn.features import FeatureDataModule, FrozenFeatureDataModule, extract_features
from sta_tsn.features.feature_store import PARTS, FeatureStore
from sta_tsn.features.frame_judgement import share_judged_false
from sta_tsn.lightning import Trainer
from sta_tsn.runs.folder import (
    RunFolder,
    agent_trial,
    is_first_process,
    only_one,
    stage_fingerprint,
    videos_are_told,
)
from sta_tsn.runs.layout import sweeps_folder
from sta_tsn.runs.model_card import write_card
from sta_tsn.tasks import ProbeGrid
from sta_tsn.training.command_line import as_assignments, only_shows
from sta_tsn.training.dry_run import few_videos, limited_to, without_dry_run
from sta_tsn.training.estimate import say_minutes
from sta_tsn.training.metrics_file import mean_of_last_epoch
from sta_tsn.training.stage_cli import MID_EPOCH, StageCLI
from sta_tsn.training.stage_clock import timed
from sta_tsn.training.wandb_run import log_settings, log_test
from sta_tsn.video import VideoDataModule
from sta_tsn.video.workers import dead_worker

TRANSPORTS = ("gloo", "NCCL")  # that name themselves in errors of DDP's connections


def fit_and_test(arguments: list[str]) -> None:
    """Train the configured stage, test it, and write its score table: `sta-tsn fit`.

    Its last epoch is tested, its best one with --select=true; with --test=false none is. With
    --trainer.fast_dev_run=true every step sees a batch or two videos.

    Args:
        arguments: LightningCLI's, `--run_dir=FOLDER` among them except under a W&B agent. With
            `--print_config`, `--help`, or `--model.help=CLASS` they are shown, and nothing is done.

    Raises:
        UserError: something that the user can mend.
    """
    arguments = as_assignments(arguments)
    if only_shows(arguments):
        StageCLI(arguments)  # prints, and ends the program
        return
    arguments = with_run_dir(arguments)
    check_arguments(arguments)
    folder = RunFolder(_value_of("--run_dir", arguments))
    stamp = stage_fingerprint(arguments)
    if folder.is_done(stamp):
        print(f"{folder.path}: done already, nothing to do", flush=True)
        return
    if is_first_process():
        with only_one(folder.path):
            folder.claim(stamp, arguments)
            remove_mid_epoch_checkpoints(folder)
            _fit_and_test(arguments, folder, stamp)
    else:  # the ranks of DDP start this program anew, and so does the user on every machine
        folder.wait_for(lambda: stage_fingerprint(arguments))
        _fit_and_test(arguments, folder, stamp)


def _value_of(name: str, arguments: list[str]) -> str:
    return next(one.partition("=")[2] for one in arguments if one.startswith(f"{name}="))


def _fit_and_test(arguments: list[str], folder: RunFolder, stamp: str) -> None:
    told, num_dry_batches = without_dry_run(arguments)
    if num_dry_batches:
        told += limited_to(num_dry_batches)
    with plain_user_errors():
        cli = StageCLI(told)
    trainer, task, data = cli.trainer, cli.model, cli.datamodule
    if trainer.is_global_zero:
        stamp = _begin(cli, arguments, folder, stamp)
        if isinstance(data, VideoDataModule) and not folder.last.exists() and not num_dry_batches:
            say_minutes(trainer, task, data, all_parts=cli.config.keep_features)
    with dead_workers_named(data):
        _fit(trainer, task, data, folder, cli.config.ckpt_path)
    if not cli.config.test:
        if trainer.is_global_zero:
            folder.note(tested=False)
        return
    if num_dry_batches and isinstance(data, VideoDataModule):
        data.videos = few_videos(data.videos)
    table = _test(cli, folder, {"fingerprint": stamp})
    if trainer.is_global_zero:
        folder.note(keeps_features=cli.config.keep_features)
        table.save(folder.scores)
        write_card(folder, table)
        if isinstance(data, VideoDataModule) and not cli.config.keep_features:
            # Nobody reads the features of rows without a second stage.
            shutil.rmtree(folder.features)
        log_test(trainer, folder, table)
        print(f"{folder.path}: {table.summary}", flush=True)


def _begin(cli: StageCLI, arguments: list[str], folder: RunFolder, stamp: str) -> str:
    """Write down what the run is, say what it starts from, and return its stamp."""
    task, data = cli.model, cli.datamodule
    cli.save_config(folder.config)
    folder.note(select=cli.config.select)
    log_settings(cli.trainer, folder)
    if not isinstance(data, VideoDataModule):
        return stamp
    print(f"Backbone: {task.model.encoder.cnn.loaded}", flush=True)
    warn_of_frozen_noise(cli.config.model.init_args.weights, task)
    if folder.last.exists() or videos_are_told(arguments):
        return stamp
    # A first start may write the manifest, which the second start's stamp will hold.
    data.prepare_data()
    stamp = stage_fingerprint(arguments)
    folder.note(fingerprint=stamp)
    return stamp


def _test(cli: StageCLI, folder: RunFolder, made_by: dict) -> ScoreTable | None:
    """Return the scores of the test videos; None on all processes but the first."""
    trainer, task, data = cli.trainer, cli.model, cli.datamodule
    load_tested(task, data, folder)
    task.logs_test_accuracy = False
    tested_data = data
    if isinstance(data, VideoDataModule):
        parts = PARTS if cli.config.keep_features else ("val", "test")
        _extract(trainer, task, data, folder, parts)
        tested_data = FeatureDataModule(str(folder.features), num_workers=data.num_workers)
    validation = None
    with timed(folder, "test", trainer.is_global_zero):
        if isinstance(tested_data, FeatureDataModule | FrozenFeatureDataModule):
            validation = _scores_of_validation(trainer, task, tested_data)
        trainer.test(task, datamodule=tested_data, verbose=False)
    if not trainer.is_global_zero:
        return None
    protocol = {**tested_data.protocol, **made_by}
    protocol |= {"seed": cli.config.seed_everything, **folder.about}
    if isinstance(data, FeatureDataModule):
        protocol["share_judged_false"] = share_judged_false(data.store, data.judge)
        protocol["l_mse"] = mean_of_last_epoch(folder, "train/loss_mse")
    if isinstance(task, ProbeGrid):
        protocol["choice"] = task.choice
    table = score_table(task, tested_data.test_videos, protocol)
    return replace(table, validation=validation)


def remove_mid_epoch_checkpoints(folder: RunFolder) -> None:
    """Delete what Lightning wrote when SLURM's signal came, in versions before this one.

    It is of the middle of an epoch, maybe of a step. Lightning would go on from it without the
    hooks of an epoch's start, and would test it in place of the run's weights.
    """
    for left in folder.path.glob(f"{MID_EPOCH}*.ckpt"):
        left.unlink()


def write_features(path: str) -> None:
    """Write what a trained stage-one run says of all videos of its split: `sta-tsn features`.

    That is features, attention and judgement, for experiments on them.

    Args:
        path: of the run's folder.

    Raises:
        UserError: no such run, not trained to the end, not of stage one, or another process is at
            it.
    """
    folder = RunFolder(path)
    if not folder.scores.exists():
        raise UserError(
            f"{folder.path} is no folder of a tested run, such as `sta-tsn train` makes: "
            "runs/<dataset>/split1/<model>/rgb/seed0/backbone"
        )
    with only_one(folder.path):
        _write_features(folder)


def _write_features(folder: RunFolder) -> None:
    with plain_user_errors():
        arguments = [
            f"--config={folder.config}",
            f"--run_dir={folder.path}",
            "--trainer.devices=1",
            "--trainer.num_nodes=1",
        ]
        check_class_paths(arguments)
        cli = StageCLI(arguments)
    trainer, task, data = cli.trainer, cli.model, cli.datamodule
    if not isinstance(data, VideoDataModule):
        raise UserError(
            f"{folder.path} did not learn from frames: give a stage-one run, .../backbone."
        )
    data.trainer = trainer  # as trainer.fit would
    trainer.strategy.connect(task)
    data.prepare_data()
    data.setup()
    load_tested(task, data, folder)
    _extract(trainer, task, data, folder, PARTS)
    if trainer.is_global_zero:
        folder.note(keeps_features=True)
        print(f"Features: {folder.features}", flush=True)


def warn_of_frozen_noise(weights: str, task) -> None:
    """Say that a recipe which keeps ImageNet's first layers keeps random ones without its weights.

    Args:
        weights: that the backbone starts from.
        task: of stage one.
    """
    parameters = task.model.encoder.cnn.parameters()
    if weights != "none" or all(parameter.requires_grad for parameter in parameters):
        return
    names = ("frozen_share", "trained_batch_norms")
    recipe = " and ".join(f"model.{name}={task.hparams[name]}" for name in names)
    print(
        f"Random weights, and {recipe} keep part of them as they are: little can be learned so.",
        flush=True,
    )


@contextmanager
def plain_user_errors() -> Iterator[None]:
    """Raise the sentence that a constructor raised, which jsonargparse wraps into pages."""
    try:
        yield
    except Exception as error:
        inner: BaseException | None = error
        while inner and not isinstance(inner, UserError):
            inner = inner.__cause__ or inner.__context__
        if inner:
            raise inner from None
        raise


@contextmanager
def dead_workers_named(data) -> Iterator[None]:
    """Name the file where a process that reads videos is killed or crashes.

    Also say it where another process of DDP died, which its partners see as a broken connection.

    Args:
        data: the data module whose loaders are at work.

    Raises:
        UserError: a worker died, or a process of DDP.
    """
    try:
        yield
    except RuntimeError as error:
        dead_worker(error, getattr(data, "reading", []))
        if torch.distributed.is_initialized() and any(name in str(error) for name in TRANSPORTS):
            raise UserError(
                "Another process of this training died; the lines above say why, or the system "
                "killed it. The same command goes on from the last finished epoch."
            ) from error
        raise


def load_tested(task, data, folder: RunFolder) -> None:
    """Load the weights that are tested, for data like that which they learned from.

    Raises:
        UserError: the flow was made otherwise, see `VideoDataModule.load_state_dict`.
    """
    checkpoint = load_checkpoint(folder.tested_checkpoint)
    task.load_state_dict(checkpoint["state_dict"])
    data.load_state_dict(checkpoint.get(type(data).__qualname__, {}))


def _extract(
    trainer: Trainer, task, data: VideoDataModule, folder: RunFolder, parts: tuple[str, ...]
) -> None:
    with timed(folder, "features", trainer.is_global_zero), dead_workers_named(data):
        extract_features(
            trainer,
            task,
            data,
            FeatureStore(folder.features),
            file_fingerprint(folder.tested_checkpoint),
            parts,
        )


def with_run_dir(arguments: list[str]) -> list[str]:
    """Return the arguments with a run folder.

    A W&B agent can give none; its trials lie in `runs/sweeps/<sweep>/<run>`.

    Raises:
        UserError: no folder, and no agent.
    """
    if any(argument.startswith("--run_dir=") for argument in arguments):
        return arguments
    trial = agent_trial()
    if not trial:
        raise UserError("sta-tsn fit needs --run_dir=FOLDER.")
    return [*arguments, f"--run_dir={sweeps_folder('runs').joinpath(*trial)}"]


def _fit(trainer: Trainer, task, data, folder: RunFolder, first: str | None) -> None:
    """Train to the end, from the run's last checkpoint where there is one, or from `first`.

    Raises:
        UserError: `first` is there neither, or damaged.
    """
    resume = first
    if folder.last.exists():
        resume = str(folder.last)
    elif first:
        check_checkpoint(first)
    if resume:
        load_checkpoint(resume, mmap=True)  # names one that holds more than weights and settings
        if trainer.is_global_zero:
            print(f"Going on from {resume}", flush=True)
    try:
        with timed(folder, "fit", trainer.is_global_zero):
            trainer.fit(task, datamodule=data, ckpt_path=resume, weights_only=True)
    except (KeyboardInterrupt, SystemExit):  # Lightning makes the first the second
        if trainer.is_global_zero:
            print(
                "\nStopped; the last finished epoch is kept. The same command goes on from there.",
                flush=True,
            )
        raise


def _scores_of_validation(
    trainer: Trainer, task, data: FeatureDataModule | FrozenFeatureDataModule
) -> ScoreTable | None:
    """Return the scores of validation videos, which weights of a fusion may be learned from."""
    videos = data.of_validation()
    if not videos.test_videos:
        return None
    trainer.test(task, datamodule=videos, verbose=False)
    return score_table(task, videos.test_videos, {}) if trainer.is_global_zero else None


def score_table(task, videos: list[dict], protocol: dict) -> ScoreTable:
    """Return what a task said of the tested videos, in their order.

    Args:
        task: that was tested.
        videos: id, group and labels of each.
        protocol: of the test.

    Raises:
        RuntimeError: a video was not scored once.
    """
    outputs = task.test_outputs
    if sorted(outputs) != list(range(len(videos))):
        raise RuntimeError(f"{len(outputs)} of {len(videos)} test videos were scored")
    ordered = [outputs[index] for index in range(len(videos))]
    labels = torch.zeros(len(videos), len(task.classes), dtype=torch.bool)
    for row, video in enumerate(videos):
        labels[row, video["labels"]] = True
    beta = None
    if "temporal_weights" in ordered[0]:
        beta = torch.stack([output["temporal_weights"] for output in ordered])
    controls = {}
    for name in ordered[0].get("controls", {}):
        controls[name] = torch.stack([output["controls"][name] for output in ordered])
    return ScoreTable(
        [video["id"] for video in videos],
        torch.stack([output["scores"] for output in ordered]),
        labels,
        task.classes,
        protocol,
        beta,
        groups=[video["group"] for video in videos],
        controls=controls,
    )
