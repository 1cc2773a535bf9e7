"""A dry run: every step of a stage on a few batches and videos, to see that it works."""

from dataclasses import replace

from sta_tsn.datasets import VideoSplit
from sta_tsn.errors import ConfigError

DRY_RUN = "trainer.fast_dev_run"
VIDEOS_LOOKED_AT = 2  # of each part of the split, by the trained network


def without_dry_run(arguments: list[str]) -> tuple[list[str], int]:
    """Return arguments without `trainer.fast_dev_run`, and how many batches it asks for.

    0 batches are no dry run. Lightning's own way with it, which drops loggers and checkpoints, ends
    where features and scores begin.

    Args:
        arguments: each as `--name=value` or `name=value`; the last of a name wins.

    Raises:
        ConfigError: neither true, false nor a number of batches.
    """
    kept = []
    value = "false"
    for argument in arguments:
        name, _, given = argument.removeprefix("--").partition("=")
        if name == DRY_RUN:
            value = given.lower()
        else:
            kept.append(argument)
    if value in ("true", "false"):
        return kept, int(value == "true")
    if not value.isdigit():
        raise ConfigError(f"{DRY_RUN}={value}: true, false, or a number of batches.")
    return kept, int(value)


def limited_to(num_batches: int) -> list[str]:
    """Return the arguments that end training and validation after so many batches."""
    return [
        "--trainer.max_epochs=1",
        f"--trainer.limit_train_batches={num_batches}",
        f"--trainer.limit_val_batches={num_batches}",
    ]


def few_videos(videos: VideoSplit) -> VideoSplit:
    """Return the first videos of each part."""
    return replace(
        videos,
        train=videos.train[:VIDEOS_LOOKED_AT],
        val=videos.val[:VIDEOS_LOOKED_AT],
        test=videos.test[:VIDEOS_LOOKED_AT],
    )
