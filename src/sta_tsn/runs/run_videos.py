"""The videos that a run was trained and tested on, from its folder; for notebooks."""

from pathlib import Path

from sta_tsn.configuration import check_keys, parameters, read_yaml, resolve_class
from sta_tsn.datasets import SkeletonDataset, VideoDataset, VideoSplit, open_split
from sta_tsn.errors import ConfigError
from sta_tsn.runs.folder import RunFolder
from sta_tsn.runs.layout import DatasetRuns, run_identity


def run_videos(run: RunFolder, data: str | None = None) -> tuple[VideoDataset, VideoSplit]:
    """Return dataset and split of a run, read from its configuration.

    Of stage two it is stage one's, which lies beside it or where its features are.

    Args:
        run: a finished run.
        data: the dataset's folder, where it is another now.

    Raises:
        ConfigError: the run's configuration is gone, or it did not learn from videos.
        DatasetError: the data is not there.
    """
    settings = _data_settings(run)
    if "features" in settings:
        beside = RunFolder(run.path.with_name("backbone"))
        run = beside if beside.config.exists() else RunFolder(Path(settings["features"]).parent)
        settings = _data_settings(run)
    file = run.config
    if "dataset" not in settings:
        raise ConfigError(
            f"{file} names no data.init_args.dataset: this run did not learn from videos. "
            "Choose another run."
        )
    kind = resolve_class(settings["dataset"]["class_path"], str(file), VideoDataset)
    if issubclass(kind, SkeletonDataset):
        raise ConfigError(
            f"{file}: this run learned from skeletons, not from videos. Choose another run."
        )
    arguments = dict(settings["dataset"].get("init_args") or {})
    if data:
        arguments["root"] = data
    check_keys(arguments, parameters(kind), "data.dataset.", str(file))
    dataset = kind(**arguments)
    manifest = settings["manifest"]
    if run_identity(run.path):
        manifest = DatasetRuns.of(run.path).manifest
    videos = open_split(
        dataset,
        settings["split"],
        manifest,
        val_share=settings["val_share"],
        allow_missing=settings["allow_missing"],
        moving=bool(settings.get("flow")),
    )
    return dataset, videos


def _data_settings(run: RunFolder) -> dict:
    """Return the data module's arguments."""
    return (read_yaml(run.config).get("data") or {}).get("init_args") or {}
