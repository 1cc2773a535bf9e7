"""LightningCLI as the suite uses it: any task over any data module, always logged and kept."""

import logging
import warnings
from io import BytesIO
from pathlib import Path

import torch
from jsonargparse.typing import NonNegativeInt

from sta_tsn.artefacts import atomic
from sta_tsn.errors import ConfigError
from sta_tsn.lightning import (
    PACKAGE,
    LearningRateMonitor,
    LightningDataModule,
    LightningModule,
    ModelCheckpoint,
    TorchCheckpointIO,
    TQDMProgressBar,
    Trainer,
)
from sta_tsn.runs.folder import RunFolder
from sta_tsn.training.divergence import DivergenceGuard
from sta_tsn.training.metrics_file import csv_logger
from sta_tsn.training.step_monitor import StepMonitor
from sta_tsn.training.wandb_run import wandb_logger
from sta_tsn.video.slurm import environment_plugins

if PACKAGE == "lightning.pytorch":
    from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
else:
    from pytorch_lightning.cli import LightningArgumentParser, LightningCLI

MID_EPOCH = "hpc_ckpt_"  # what Lightning calls a checkpoint of a SLURM job that ends


class StageCLI(LightningCLI):
    """Builds trainer, task and data module from configuration files and dotted overrides.

    Class names of the data travel into the model; the seed is given once.

    Args:
        arguments: whose classes are checked (`check_arguments`, `check_class_paths`): all of them
            are called.
    """

    def __init__(self, arguments: list[str]):
        silence_noise()
        super().__init__(
            LightningModule,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_callback=None,
            seed_everything_default=0,
            args=arguments,
            run=False,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--run_dir", type=str, required=True, help="folder of this run")
        parser.add_argument(
            "--keep_features", type=bool, default=False, help="features of all parts, for stage two"
        )
        parser.add_argument(
            "--test",
            type=bool,
            default=True,
            help="false: end after training, as trials of a sweep do",
        )
        parser.add_argument(
            "--select",
            type=bool,
            default=False,
            help="test the epoch with the least validation loss, not the last",
        )
        parser.add_argument(
            "--videos", type=str, default="", help="fingerprint of the split; make train gives it"
        )
        parser.add_argument(
            "--threads",
            type=NonNegativeInt,
            default=0,
            help="of a process on a CPU; 0: one a core. Small networks are quicker with 1",
        )
        parser.add_argument(
            "--ckpt_path",
            type=str | None,
            default=None,
            help="of an earlier training of the same network, to go on from in a new run_dir",
        )
        parser.link_arguments("data.classes", "model.init_args.classes", apply_on="instantiate")
        parser.link_arguments(
            "data.num_joints", "model.init_args.num_joints", apply_on="instantiate"
        )
        parser.link_arguments(
            "data.pair_distance", "model.init_args.pair_distance", apply_on="instantiate"
        )
        parser.link_arguments("data.frames", "model.init_args.frames", apply_on="instantiate")
        parser.link_arguments(
            "data.feature_dim", "model.init_args.feature_dim", apply_on="instantiate"
        )
        parser.link_arguments("seed_everything", "data.init_args.seed")

    def before_instantiate_classes(self) -> None:
        if self.config.threads:
            torch.set_num_threads(self.config.threads)

    def instantiate_trainer(self, **kwargs) -> Trainer:
        folder = RunFolder(self.config.run_dir)
        settings = self.config.trainer
        if settings.fast_dev_run:
            raise ConfigError(
                f"trainer.fast_dev_run={settings.fast_dev_run} in a YAML file: give it on the "
                "command line, --trainer.fast_dev_run=true."
            )
        kwargs.update(
            default_root_dir=str(folder.path),
            logger=[csv_logger(folder), wandb_logger(folder), *self._further_loggers()],
            callbacks=[
                *(self.config_init.trainer.callbacks or []),
                *checkpoint_callbacks(folder),
                LearningRateMonitor(),
                DivergenceGuard(folder.path),
                StepMonitor(),
                TQDMProgressBar(),
            ],
            plugins=[
                AtomicCheckpointIO(),
                *environment_plugins(settings.accelerator, settings.devices, settings.num_nodes),
            ],
            precision=settings.precision or default_precision(settings.accelerator),
            use_distributed_sampler=False,  # the suite's own repeats no video
            num_sanity_val_steps=0,
            log_every_n_steps=settings.log_every_n_steps or 10,
            enable_model_summary=False,
        )
        trainer = super().instantiate_trainer(**kwargs)
        warn_of_slow_precision(trainer)
        return trainer

    def _further_loggers(self) -> list:
        """Return those that the user configured, beside the suite's own."""
        given = self.config_init.trainer.logger
        if given in (None, True):
            return []
        if given is False:
            raise ConfigError(
                "trainer.logger=false: a run always writes its metrics.csv; leave it out."
            )
        return list(given) if isinstance(given, list) else [given]

    def save_config(self, path: Path) -> None:
        with atomic(path) as temporary:
            self.parser.save(
                self.config, str(temporary), skip_validation=True, overwrite=True, multifile=False
            )


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints whole: a kill in the middle of a save leaves the one before it.

    The one that Lightning asks for when SLURM announces a job's end is not written: it would be of
    the middle of an epoch. The requeued job goes on from the last epoch's end, to the same numbers
    as an uninterrupted one.
    """

    def save_checkpoint(self, checkpoint, path, storage_options=None) -> None:
        if Path(path).name.startswith(MID_EPOCH):
            return
        # Lightning would write in the system's temporary folder first, which may be full or small.
        content = BytesIO()
        torch.save(checkpoint, content)
        with atomic(path) as temporary:
            temporary.write_bytes(content.getbuffer())


def silence_noise() -> None:
    """Silence messages that a user need not see, each with why; everything else is shown."""
    for message in (
        # `sta-tsn fit` has looked at the command line first, on purpose.
        "LightningCLI's args parameter",
        # Lightning 2.6 on torch 2.15, nothing of ours.
        r"`isinstance\(treespec, LeafSpec\)` is deprecated",
        # Partial batch normalisation and the frozen backbone.
        r"Found \d+ module\(s\) in eval mode",
        # Folding for the CPU; torch.compile would need a C compiler.
        r"`torch\.jit\..*` is deprecated",
        "Checkpoint directory .* exists and is not empty",  # resuming
        # Epochs are logged in any case.
        "The number of training batches .* is smaller than the logging interval",
        "The `srun` command is available",  # a note for SLURM users
        "Total length of `DataLoader` across ranks is zero",  # no validation videos
        "The '.*dataloader' does not have many workers",  # two cores have not
        "Your `IterableDataset` has `__len__` defined",  # true on any number of workers
    ):
        warnings.filterwarnings("ignore", message=message)
    # The list of devices, adverts.
    logging.getLogger(f"{PACKAGE}.utilities.rank_zero").setLevel(logging.WARNING)
    # "no CUDA runtime", where a CPU's code is compiled.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)


def default_precision(accelerator: str) -> str:
    """Return the precision of a run that names none: mixed on a GPU, exact fp32 on the CPU."""
    if accelerator == "cpu" or not torch.cuda.is_available():
        return "32-true"
    return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"


def warn_of_slow_precision(trainer: Trainer) -> None:
    """Say that bf16 is slow on a CPU without instructions for it: ten times as slow, measured."""
    on_cpu = trainer.strategy.root_device.type == "cpu"
    old = torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "AVX2", "NO AVX")
    if on_cpu and old and trainer.precision.startswith("bf16") and trainer.is_global_zero:
        print(
            f"trainer.precision={trainer.precision}: this CPU has no bf16 instructions, training "
            "is about ten times slower than with 32-true.",
            flush=True,
        )


def checkpoint_callbacks(folder: RunFolder) -> list[ModelCheckpoint]:
    """Keep last.ckpt, to go on from and to test, and best.ckpt by validation loss.

    Each is one file, overwritten.
    """
    common = {"dirpath": str(folder.checkpoints), "enable_version_counter": False}
    best = ModelCheckpoint(
        filename="best", monitor="val/loss", mode="min", save_on_train_epoch_end=False, **common
    )
    last = ModelCheckpoint(filename="last", save_on_train_epoch_end=True, **common)
    return [best, last]
