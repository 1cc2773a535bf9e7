"""What was trained, loaded again: a run's checkpoint, a published folder, one of the Hub."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import yaml

from sta_tsn.artefacts import DAMAGED, first_line, load_checkpoint
from sta_tsn.errors import UserError
from sta_tsn.prediction.networks import Description, TrainedNetwork, describe_earlier
from sta_tsn.prediction.probed import build_probe, is_probe, probe_system
from sta_tsn.video.flow.flow_store import FLOW_STACK, differing
from sta_tsn.video.flow.video_flow import FlowSettings

PAPERS_FRAMES = (3, 10)
SMNETS_FRAMES = (8, 1)
ON_THE_HUB = "hf://"

# Files of a published folder.
PUBLISHED_WEIGHTS = "model.safetensors"
PUBLISHED_CONFIG = "config.json"
PUBLISHED_CARD = "README.md"


@dataclass(frozen=True)
class Stream:
    """A trained network and how its test videos were shown to it.

    task: the network and its classes. sampled: segments x frames of each that were encoded. read:
    those that the scores are made from; fewer where stage two learned from a part of them. mirror:
    mirrored views are among the crops. note: what a user should know of it; empty where nothing.
    """

    task: TrainedNetwork
    sampled: tuple[int, int]
    read: tuple[int, int]
    mirror: bool
    note: str

    @property
    def sees_flow(self) -> bool:
        return self.task.model.encoder.cnn.num_channels != 3

    @property
    def pair_distance(self) -> int:
        return 0 if self.sees_flow else self.task.hparams.get("pair_distance", 0)

    @property
    def stack_length(self) -> int:
        return FLOW_STACK if self.sees_flow else 1 + self.pair_distance


@dataclass(frozen=True)
class SavedNetwork:
    """What a file or folder holds of a network: settings, weights, how its videos were shown.

    settings: hyper-parameters of its training. weights: tensors by their names in the network.
    shown: None where that is not known. network: its `class` and `settings`; None where an earlier
    version wrote the file.
    """

    settings: dict
    weights: dict
    shown: dict | None
    network: dict | None


def load_stream(place: str | os.PathLike) -> Stream:
    """Load a checkpoint of either stage, without running code that it may hold.

    Args:
        place: a checkpoint, a folder of `sta-tsn publish`, or hf://owner/name of the Hub.

    Raises:
        UserError: there is no such, none of the suite, or of a network of skeletons.
    """
    path = _downloaded(str(place)) if str(place).startswith(ON_THE_HUB) else Path(place)
    saved = read_published(path) if path.is_dir() else read_checkpoint(path)
    description = None if is_probe(saved.settings) else _description(path, saved)
    try:
        if description is None:
            system = probe_system(saved.settings)
            model = build_probe(path, saved.settings, saved.shown or {})
            model.heads.load_state_dict(saved.weights)
            model.heads.keep_chosen()
        else:
            system = description.system
            model = description.build()
            # In place of the random ones: a copy would stay in memory beside the file's.
            model.load_state_dict(saved.weights, assign=True)
    except (TypeError, ValueError, RuntimeError, KeyError) as error:
        raise UserError(
            f"{path}: the checkpoint's network cannot be built ({first_line(error)}); "
            "train it again with this version."
        ) from error
    notes = []
    shown = saved.shown
    if shown is None:
        usual = SMNETS_FRAMES if system == "SMNet" else PAPERS_FRAMES
        shown = {"frames": usual}
        notes.append(
            f"{path} does not say how its test videos were shown, and no config.yaml of its run "
            f"lies beside it: {usual[0]} segments of {usual[1]} frames, mirrored views too, are "
            "taken. Train again where that is wrong."
        )
    sampled = tuple(shown.get("stored_frames") or shown.get("frames", PAPERS_FRAMES))
    read = tuple(saved.settings.get("frames") or sampled)
    ours = FlowSettings().as_dict()
    names = differing(shown.get("flow", ours), ours)
    if names:
        notes.append(
            "The network learned from flow of other settings than are computed here "
            f"({names}): its judgement may suffer."
        )
    network = TrainedNetwork(
        model.eval().requires_grad_(False),
        list(saved.settings["classes"]),
        saved.settings,
        shown.get("keep_proportions", False),
        system,
    )
    return Stream(network, sampled, read, shown.get("mirror", True), " ".join(notes))


def read_checkpoint(path: Path) -> SavedNetwork:
    """Read a checkpoint of Lightning's; runs no code of it.

    Raises:
        UserError: no such file, damaged, or no checkpoint of a network.
    """
    state = load_checkpoint(path, mmap=True)
    weights = {}
    for name, tensor in state["state_dict"].items():
        if name.startswith("model."):
            weights[name.removeprefix("model.")] = tensor
    shown = None
    for data in ("VideoDataModule", "FeatureDataModule", "FrozenFeatureDataModule"):
        shown = shown or state.get(data)
    if shown is None:
        shown = _shown_in_its_run(path)
    return SavedNetwork(state.get("hyper_parameters", {}), weights, shown, state.get("network"))


def read_published(folder: Path) -> SavedNetwork:
    """Read what `sta-tsn publish` laid out.

    Raises:
        UserError: a file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        config = json.loads((folder / PUBLISHED_CONFIG).read_text(encoding="utf-8"))
        weights = load_file(folder / PUBLISHED_WEIGHTS)
        network = config.get("network")
        return SavedNetwork(config["hyper_parameters"], weights, config["shown"], network)
    except FileNotFoundError as error:
        raise UserError(
            f"{folder} is no published network, for it has no {Path(error.filename).name}. Give "
            "runs/.../checkpoints/last.ckpt, or a folder that `sta-tsn publish` wrote."
        ) from error
    except (SafetensorError, *DAMAGED) as error:
        raise UserError(
            f"{folder} is damaged or no published network: {first_line(error)}."
        ) from error


def _downloaded(address: str) -> Path:
    """Return the local copy of a repository of the Hub; only the files that are read are fetched.

    Raises:
        UserError: no such repository, or the Hub is out of reach.
    """
    from huggingface_hub import snapshot_download

    name = address.removeprefix(ON_THE_HUB).strip("/")
    try:
        folder = snapshot_download(name, allow_patterns=[PUBLISHED_WEIGHTS, PUBLISHED_CONFIG])
    except Exception as error:  # the client has many kinds, and its transport has others
        raise UserError(
            f"{address} cannot be fetched ({first_line(error)}). Without network: download the "
            "repository elsewhere and give its folder."
        ) from error
    return Path(folder)


def _shown_in_its_run(checkpoint: Path) -> dict | None:
    """Return how test videos were shown, from the run's configuration; None where there is none.

    Checkpoints of earlier versions do not hold it. Of stage two it is what stage one was told,
    whose run lies where its features are, or beside.
    """
    run = checkpoint.absolute().parent.parent
    data = _data_settings(run)
    if "features" in data:
        places = (Path(data["features"]).parent, run.parent / "backbone")
        found = (_data_settings(place) for place in places)
        data = next((settings for settings in found if settings), {})
    if "test_segments" not in data or "test_frames_per_segment" not in data:
        return None
    return {
        "frames": (data["test_segments"], data["test_frames_per_segment"]),
        "mirror": data.get("mirror", True),
    }


def _data_settings(run: Path) -> dict:
    """Return the data module's arguments as `config.yaml` of a run holds them; {} without one."""
    try:
        settings = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
        return dict(settings["data"]["init_args"])
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, ValueError):
        return {}


def _description(path: Path, saved: SavedNetwork) -> Description:
    if "num_joints" in saved.settings:
        raise UserError(
            f"{path} learned from skeletons, not from videos. Give a checkpoint of a run on videos."
        )
    if isinstance(saved.network, dict):
        return Description(str(saved.network.get("class")), saved.network.get("settings") or {})
    description = describe_earlier(saved.settings)
    if description is None:
        raise UserError(
            f"{path} is a checkpoint of something else than this suite's networks. "
            "Give runs/.../checkpoints/last.ckpt of a run."
        )
    return description
