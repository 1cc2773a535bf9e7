"""Features of a dataset's videos by a network that nobody trained here.

A frozen encoder says the same of a video in every split: each listed video is encoded once, and the
store holds the sides of all official splits beside it, so that heads are trained from it alone.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sta_tsn.artefacts import read_json
from sta_tsn.datasets import VideoRecord, VideoSplit, build_manifest, open_split
from sta_tsn.errors import ConfigError
from sta_tsn.features.clip_encoder import CLIP_ENCODER, check_one_crop, find_encoder
from sta_tsn.features.exchange import import_features
from sta_tsn.features.feature_store import STORE_FILE
from sta_tsn.features.frozen_encoder import Kept
from sta_tsn.features.frozen_extraction import extract_frozen
from sta_tsn.features.frozen_features import FramesOfVideo, FrozenFeatures
from sta_tsn.features.stored_split import sides_of, with_former_splits
from sta_tsn.pipeline.data import check_names, data_settings, holds_skeletons, open_dataset
from sta_tsn.pipeline.options import TrainOptions
from sta_tsn.runs.layout import DatasetRuns
from sta_tsn.video import SegmentSampler

FRAMES_OF_TESTING = (3, 10)  # the paper's, where a recipe says nothing else


@dataclass(frozen=True)
class StoreOptions:
    """What is stored of each frame.

    Attributes:
        kept: the pooled feature, the map, or both.
        crops: views of each frame: 1 for the centre crop, 10 for the ten of testing.
        out: folder of the store; one below the dataset's runs, named after the encoder, where None.
        splits: official splits whose videos are stored, beside those that are there; all where
            None.
        segments: of a video, or clips where the encoder sees whole ones; the recipe's where None.
    """

    kept: Kept = "pooled"
    crops: int = 1
    out: str | None = None
    splits: tuple[int, ...] | None = None
    segments: int | None = None


def store_features(options: TrainOptions, stored: StoreOptions) -> Path:
    """Encode every listed video that is not encoded yet; return the store's folder.

    Raises:
        ConfigError: no such backbone, or the dataset holds skeletons.
        DatasetError: videos are missing or do not decode, and nobody said to go on.
        UserError: as `extract_frozen`.
    """
    from sta_tsn.training.stage_cli import silence_noise

    silence_noise()
    check_encoder(options)
    if not options.backbone:
        raise ConfigError("features needs a trained run, or a backbone: any timm name.")
    if options.backbone.startswith(CLIP_ENCODER):
        check_one_crop(options.backbone, stored.crops)
    if stored.segments is not None and stored.segments < 1:
        raise ConfigError(f"segments={stored.segments}: of a video, at least 1.")
    encoder = find_encoder(options.backbone, options.weights)
    if holds_skeletons(options):
        raise ConfigError(f"dataset={options.dataset} holds skeletons: there are no frames.")
    dataset = open_dataset(options)
    numbers = stored.splits or range(1, dataset.num_splits + 1)
    listed: list[VideoRecord] = []
    for split in numbers:
        dataset.check_split(split)
        listed += dataset.records(split).videos
    counted = build_manifest(listed, options.place.manifest)
    splits: dict[str, VideoSplit] = {}
    for split in numbers:
        splits[str(split)] = open_split(
            dataset, split, counted, val_share=0.0, allow_missing=options.allow_missing
        )
    records = _each_once(list(splits.values()))
    settings = data_settings(options)
    frames = encoder.sampled(
        (
            stored.segments or settings.get("test_segments", FRAMES_OF_TESTING[0]),
            settings.get("test_frames_per_segment", FRAMES_OF_TESTING[1]),
        )
    )
    folder = Path(stored.out) if stored.out else store_of(options)
    features = FrozenFeatures(folder, encoder, stored.kept, stored.crops)
    weights_file = ""
    if Path(encoder.weights or "").is_file():
        weights_file = str(Path(encoder.weights).resolve())
    listing = {
        "dataset": options.dataset,
        "weights_file": weights_file,
        "classes": dataset.classes,
        "frames": [frames[0], frames[1] // encoder.frames_per_entry],
        "videos": [record.entry for record in records],
        "splits": {split: sides_of(videos) for split, videos in splits.items()},
    }
    listing = with_former_splits(listing, read_json(folder / STORE_FILE))
    extract_frozen(
        features,
        [_frames_of(record, SegmentSampler(*frames)) for record in records],
        options.devices,
        options.nodes,
        options.workers or 0,
        listing,
    )
    return folder


def check_encoder(options: TrainOptions) -> None:
    """Check every name that the options have; clip encoders are allowed here.

    Raises:
        ConfigError: as `check_names`.
    """
    if (options.backbone or "").startswith(CLIP_ENCODER):
        options = replace(options, backbone=None)
    check_names(options)


def store_of(options: TrainOptions) -> Path:
    """Return the folder of the backbone's features below the dataset's runs."""
    name = options.backbone
    if name.startswith(CLIP_ENCODER):
        name = Path(name.removeprefix(CLIP_ENCODER)).name
    return options.place.features(name)


def import_store(
    folder: str, runs: str, dataset: str, made_by: dict[str, str], frames: Sequence[int] | None
) -> Path:
    """Take features made elsewhere into a store below the runs; return its folder.

    Args, Raises: see `import_features`; the store is named after the encoder.
    """
    encoder = made_by.get("encoder", "imported")
    name = re.sub(r"[^\w.-]+", "_", encoder)
    store = DatasetRuns.below(runs, dataset).features(name)
    import_features(Path(folder), store, dataset, made_by, frames)
    print(store.resolve())
    print(f"Heads on them: sta-tsn train --model=probe --features={store}", flush=True)
    return store


def _each_once(splits: list[VideoSplit]) -> list[VideoRecord]:
    """Return the videos of any split, once."""
    found: dict[str, VideoRecord] = {}
    for videos in splits:
        for record in [*videos.train, *videos.val, *videos.test]:
            found.setdefault(record.id, record)
    return list(found.values())


def _frames_of(record: VideoRecord, sampler: SegmentSampler) -> FramesOfVideo:
    indices = tuple(sampler(record.num_frames).flatten().tolist())
    return FramesOfVideo(record.id, record.path, record.num_frames, indices, sampler.num_segments)
