"""Whether the model that a command names fits the dataset and the other options."""

from sta_tsn.errors import ConfigError
from sta_tsn.pipeline.data import holds_skeletons
from sta_tsn.pipeline.options import TrainOptions
from sta_tsn.pipeline.studies import STUDIES, find_study


def check_model(options: TrainOptions) -> None:
    """Check that the rows of the model can be trained, before any of them is.

    Raises:
        ConfigError: no such model, or it does not fit; says what would.
    """
    study = find_study(options.model)
    held = "skeletons" if holds_skeletons(options) else "videos"
    if study.own_way:
        raise ConfigError(
            f"model={options.model} is a study over splits and seeds: "
            f"sta-tsn reproduce --model={options.model} --dataset={options.dataset} makes it."
        )
    if study.sees != held:
        fitting = [other.name for other in STUDIES if other.sees == held and other.rows]
        remedy = f"model={' or '.join(fitting)}"
        if study.sees == "skeletons":
            remedy = "dataset=sbu or jhmdb_joints"
        raise ConfigError(
            f"model={options.model} learns from {study.sees}, dataset={options.dataset} holds "
            f"{held}: use {remedy}."
        )
    if study.sees == "skeletons":
        _check_skeleton_options(options)
    if study.check_backbone and options.backbone:
        study.check_backbone(options.backbone)


def _check_skeleton_options(options: TrainOptions) -> None:
    for name in ("backbone", "weights"):
        value = getattr(options, name)
        if value:
            raise ConfigError(f"{name}={value}: model={options.model} has no CNN; leave it out.")
    if options.epochs is not None:
        raise ConfigError(
            f"epochs={options.epochs}: the phases of model={options.model} say how many: set "
            "model.subnet_epochs, model.main_epochs and model.finetune_epochs."
        )
    if options.modality != "rgb":
        raise ConfigError(
            f"modality={options.modality}: model={options.model} sees skeletons only; leave it out."
        )
