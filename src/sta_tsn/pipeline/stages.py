"""The command lines that a study's rows come to: `sta-tsn fit` of each, and `sta-tsn flow`."""

from dataclasses import dataclass, replace
from pathlib import Path

from sta_tsn.configuration import check_arguments
from sta_tsn.pipeline.options import TrainOptions
from sta_tsn.pipeline.settings import check_settings, settings_of_stage
from sta_tsn.pipeline.studies import Row, find_study
from sta_tsn.runs.folder import RunFolder

VIDEOS = "--videos"
STAGE_ONE = "--model.backbone_checkpoint"
START = "start.safetensors"


@dataclass(frozen=True)
class Stage:
    """One row of a study in one modality.

    Attributes:
        title: of the row.
        modality: rgb, flow or skeleton.
        folder: of the run.
        stage_one: run that a temporal stage starts from.
        arguments: of `sta-tsn fit`, but for what only earlier work tells, see `command`.
    """

    title: str
    modality: str
    folder: RunFolder
    stage_one: RunFolder | None
    arguments: list[str]

    def command(self, videos: str) -> list[str]:
        """Return the arguments of `sta-tsn fit`, once frames are counted and stage one is tested.

        Args:
            videos: fingerprint of the split's videos.
        """
        late = {VIDEOS: f"v{videos}"}  # v: digits alone may read as a number
        if self.stage_one:
            late[STAGE_ONE] = str(self.stage_one.tested_checkpoint)
        command = []
        for argument in self.arguments:
            name, _, value = argument.partition("=")
            value = late.pop(name, value)  # a setting of the same name comes later, and wins
            command.append(f"{name}={value}")
        return command


def plan_stages(options: TrainOptions) -> list[Stage]:
    """Return the stages of a study, one modality after the other, with every argument checked.

    Raises:
        ConfigError: a YAML file or a setting holds a key or a value that is not taken.
    """
    study = find_study(options.model)
    stages = []
    for modality in study.streams(options.modality):
        seen = replace(options, modality=modality)
        for row in study.rows:
            stage_one = row.backbone(seen) if row.stage == "temporal" else None
            arguments = stage_arguments(row, seen)
            stages.append(Stage(row.title, modality, row.folder(seen), stage_one, arguments))
    check_settings(options.settings, [stage.arguments for stage in stages])
    for stage in stages:
        check_arguments(stage.arguments)
    return stages


def stage_arguments(row: Row, options: TrainOptions) -> list[str]:
    """Return the command line of `sta-tsn fit` for one row, each argument as `--name=value`.

    Args:
        row: of the study.
        options: what the user asked for; the modality is rgb or flow, a study of skeletons takes
            no note of it.
    """
    arguments = [f"--config={file}" for file in _recipe_files(row, options)]
    devices = options.devices
    if row.stage == "lstm" and devices == "auto":
        devices = "1"  # sequences of joints are too small to be shared out
    arguments += [
        f"--run_dir={row.folder(options).path}",
        f"--seed_everything={options.seed}",
        f"--trainer.devices={devices}",
        f"--trainer.num_nodes={options.nodes}",
    ]
    if row.stage == "temporal":
        backbone = row.backbone(options)
        arguments += [
            f"--data.features={backbone.features}",
            f"{STAGE_ONE}={backbone.last}",
        ]
    else:
        arguments += _data_arguments(row, options)
    return [*arguments, *settings_of_stage(options.stage_settings, arguments)]


def _recipe_files(row: Row, options: TrainOptions) -> list[Path]:
    """Return the YAML files of a stage; the last one wins."""
    experiments = Path(options.experiments)
    files = [experiments / row.config, options.recipes / f"{row.stage}.yaml"]
    if row.stage == "backbone":
        if options.modality == "flow":
            files.append(options.recipes / "flow.yaml")
        of_model = options.recipes / f"{options.model}.yaml"
        if of_model.exists():
            files.append(of_model)
    if row.change:
        files.append(experiments / row.change)
    return files


def _data_arguments(row: Row, options: TrainOptions) -> list[str]:
    """Return what a stage that reads the dataset itself is told of data and backbone."""
    arguments = []
    if options.modality == "flow":
        arguments += ["--model.modality=flow", f"--data.flow={options.place.flow}"]
    arguments += [f"{VIDEOS}=", f"--data.split={options.split}"]
    if row.stage == "backbone":
        arguments.append(f"--data.manifest={options.place.manifest}")
    if options.allow_missing:
        arguments.append("--data.allow_missing=true")
    if options.data:
        arguments.append(f"--data.dataset.init_args.root={options.data}")
    if options.backbone:
        arguments.append(f"--model.backbone={options.backbone}")
    weights = options.weights or _start(options)
    if weights:
        arguments.append(f"--model.weights={weights}")
    return arguments


def _start(options: TrainOptions) -> Path | None:
    """Return the weights that lie beside the dataset's recipes, for the CNN that those name."""
    file = options.recipes / START
    return file if file.exists() and not options.backbone else None


def flow_arguments(options: TrainOptions) -> list[str]:
    """Return the command line of `sta-tsn flow` for the videos of the split."""
    arguments = [
        "flow",
        f"--dataset={options.dataset}",
        f"--split={options.split}",
        f"--runs={options.runs}",
        f"--experiments={options.experiments}",
        f"--devices={options.devices}",
        f"--nodes={options.nodes}",
    ]
    if options.data:
        arguments.append(f"--data={options.data}")
    if options.allow_missing:
        arguments.append("--allow-missing")
    return arguments
