"""The dataset that a command names: where its videos are, what is wrong with them, how to get them.

Everything that can be wrong with names and data is said here, before a model is built.
"""

import re
from pathlib import Path

from sta_tsn.artefacts import write_json
from sta_tsn.configuration import check_keys, parameters, read_yaml, resolve_class
from sta_tsn.datasets import (
    Manifest,
    SkeletonDataset,
    VideoDataset,
    VideoRecord,
    VideoSplit,
    build_manifest,
    check_dataset,
    open_split,
    skeleton_manifest,
)
from sta_tsn.datasets.check import summary
from sta_tsn.datasets.download import download
from sta_tsn.errors import ConfigError, unknown
from sta_tsn.pipeline.options import TrainOptions

MODALITIES = ("rgb", "flow", "two-stream")
# A dataset of videos has a recipe for the first, one of skeletons for the second.
STAGES = ("backbone", "lstm")


def check_names(options: TrainOptions) -> None:
    """Check every name and number that needs no data, before anything is loaded.

    Raises:
        ConfigError: naming the argument, its value and what would be taken.
    """
    _check_dataset_name(options)
    _check_modality(options)
    _check_devices(options.devices)
    if options.nodes < 1:
        raise ConfigError(f"nodes={options.nodes}: a number of machines, at least 1.")
    if options.epochs is not None and options.epochs < 1:
        raise ConfigError(f"epochs={options.epochs}: a number of epochs, at least 1.")
    if not 0 <= options.seed < 2**32:
        raise ConfigError(f"seed={options.seed}: from 0 to {2**32 - 1}.")
    if options.backbone:
        from sta_tsn.features.clip_encoder import CLIP_ENCODER
        from sta_tsn.models.map_backbone import check_backbone_name

        if options.backbone.startswith(CLIP_ENCODER):
            raise ConfigError(
                f"backbone={options.backbone} is a clip encoder: it is used as it is, by the verb "
                "features and by the model probe, and not trained."
            )
        check_backbone_name(options.backbone)
    weights = options.weights
    if weights and weights not in ("imagenet", "none") and not Path(weights).is_file():
        raise ConfigError(f"weights={weights}: no such file (nor 'imagenet' or 'none').")


def _check_dataset_name(options: TrainOptions) -> None:
    recipes: set[str] = set()
    for stage in STAGES:
        found = Path(options.experiments, "datasets").glob(f"*/{stage}.yaml")
        recipes |= {path.parent.name for path in found}
    datasets = sorted(recipes)
    if not datasets:
        raise ConfigError(
            f"No datasets/<name>/backbone.yaml in {Path(options.experiments).resolve()}: "
            f"`sta-tsn recipes {options.experiments}` copies the suite's recipes there."
        )
    if options.dataset not in datasets:
        raise unknown("dataset", options.dataset, datasets)


def _check_modality(options: TrainOptions) -> None:
    if options.modality not in MODALITIES:
        raise unknown("modality", options.modality, MODALITIES)
    flow_recipe = options.recipes / "flow.yaml"
    if options.modality != "rgb" and not flow_recipe.exists() and not holds_skeletons(options):
        raise ConfigError(
            f"{options.dataset} has no recipe for flow: write {flow_recipe}, or train with "
            "modality=rgb."
        )


def _check_devices(devices: str) -> None:
    if not re.fullmatch(r"auto|-1|\d+(,\d+)*,?", devices):
        raise ConfigError(f"devices={devices}: auto, a number of devices, or which ones (0,1).")
    import torch

    gpus = torch.cuda.device_count()
    if not gpus and not re.fullmatch(r"auto|0*[1-9]\d*", devices):
        raise ConfigError(
            f"devices={devices}: there is no GPU here. Give auto, or the number of processes."
        )
    if gpus and devices not in ("auto", "-1"):
        numbers = [int(one) for one in devices.split(",") if one]
        highest = max(numbers) if "," in devices else numbers[0] - 1
        if not 0 <= highest < gpus:
            raise ConfigError(f"devices={devices}: there are {gpus} GPUs here, 0 to {gpus - 1}.")


def holds_skeletons(options: TrainOptions) -> bool:
    """Return whether the dataset is one of joints, not of videos."""
    return recipe(options).stem == "lstm"


def recipe(options: TrainOptions) -> Path:
    """Return the recipe that names the dataset's class."""
    files = [options.recipes / f"{stage}.yaml" for stage in STAGES]
    return next(file for file in files if file.exists())


def data_settings(options: TrainOptions) -> dict:
    """Return the arguments of the data module in the dataset's recipe."""
    return (read_yaml(recipe(options)).get("data") or {}).get("init_args") or {}


def dataset_class(options: TrainOptions) -> tuple[type[VideoDataset], dict]:
    """Return the dataset's class and its arguments; `root` is `options.data` where that is given.

    Raises:
        ConfigError: the recipe names no dataset, or a key that its class does not take.
    """
    path = recipe(options)
    section = data_settings(options).get("dataset")
    if not section or "class_path" not in section:
        raise ConfigError(f"{path} names no data.init_args.dataset.class_path.")
    kind = resolve_class(section["class_path"], str(path), VideoDataset)
    arguments = dict(section.get("init_args") or {})
    if options.data:
        arguments["root"] = options.data
    check_keys(arguments, parameters(kind), "data.dataset.", str(path))
    return kind, arguments


def open_dataset(options: TrainOptions) -> VideoDataset:
    """Return the dataset that the options name.

    Raises:
        DatasetError: its files are not there.
    """
    kind, arguments = dataset_class(options)
    return kind(**arguments)


def prepare_videos(options: TrainOptions, dataset: VideoDataset) -> VideoSplit:
    """Return the split's videos; what is wrong with them is said before any training starts.

    Frames that no earlier command counted are counted now.
    """
    settings = data_settings(options)
    val_share = {"val_share": settings["val_share"]} if "val_share" in settings else {}
    return open_split(
        dataset,
        options.split,
        options.place.manifest,
        allow_missing=options.allow_missing,
        **val_share,
    )


def count_frames(
    dataset: VideoDataset, records: list[VideoRecord], path: Path, **settings
) -> Manifest:
    """Return which files can be read, and their frames; those of videos are kept in `path`."""
    if isinstance(dataset, SkeletonDataset):
        return skeleton_manifest(records, dataset.read)
    return build_manifest(records, path, **settings)


def check_data(options: TrainOptions) -> None:
    """Count frames, compare with what is published, write check.json; nothing is deleted."""
    check_names(options)
    dataset = open_dataset(options)
    place = options.place
    counted = count_frames(dataset, dataset.listed(), place.manifest, retry_slow=True)
    report = check_dataset(dataset, counted)
    write_json(place.check, report)
    print(f"{summary(report)}\nEvery name: {place.check.resolve()}")
    if place.manifest.exists():
        print(f"Frame counts: {place.manifest.resolve()}")


def extract_flow(options: TrainOptions, pairs_at_once: int | None = None) -> None:
    """Write TV-L1 flow of every video of the split; what is current in the store is kept.

    Args:
        options: what the user asked for.
        pairs_at_once: see `video.flow.flow_extraction.extract_all`.

    Raises:
        ConfigError: the dataset holds skeletons, or a number is out of range.
        DatasetError: videos are missing or do not decode, and nobody said to go on.
    """
    from sta_tsn.lightning import rank_zero_only
    from sta_tsn.training.stage_cli import silence_noise
    from sta_tsn.video.flow.flow_extraction import extract_all

    silence_noise()
    check_names(options)
    if pairs_at_once is not None and pairs_at_once < 1:
        raise ConfigError(f"pairs_at_once={pairs_at_once}: pairs of frames, at least 1.")
    if holds_skeletons(options):
        raise ConfigError(
            f"dataset={options.dataset} holds skeletons: there is no flow to extract."
        )
    dataset = open_dataset(options)
    videos = open_split(
        dataset,
        options.split,
        options.place.manifest,
        val_share=0.0,  # whoever learns from the flow holds out
        allow_missing=options.allow_missing,
        moving=True,
        say=rank_zero_only(print),
    )
    extract_all(
        [*videos.train, *videos.val, *videos.test],
        options.place.flow,
        options.devices,
        options.nodes,
        pairs_at_once,
    )


def download_data(options: TrainOptions) -> None:
    """Fetch and unpack the dataset's archives, as far as that can be done without a person.

    Raises:
        ConfigError: there is nothing to download.
    """
    check_names(options)
    kind, arguments = dataset_class(options)
    if not (kind.archives or kind.by_hand):
        raise ConfigError(
            f"{options.dataset} has nothing to download: its videos are rendered, or are your own."
        )
    download(kind, Path(arguments["root"]).expanduser())
