"""The network of a probe's checkpoint: its chosen head, and the frozen encoder that it names.

The checkpoint holds the heads alone; an encoder is shared by many, and may be a hundred times as
large. It is built again from its name, and its weights must be those that were used.
"""

import math
from pathlib import Path

from torch import nn

from sta_tsn.artefacts import file_fingerprint
from sta_tsn.errors import UserError
from sta_tsn.models import (
    AttentiveProbe,
    FocusProbe,
    FrameEncoder,
    HeadGrid,
    KeyFrameProbe,
    LinearProbe,
    MapEncoder,
    NeighbourGrid,
    ProbedNetwork,
)

# By the name of the task that trained them.
SYSTEM_OF = {
    "LinearProbing": "mean + linear",
    "NeighbourProbing": "nearest neighbours",
    "AttentiveProbing": "attentive pooling",
    "KeyFrameProbing": "β",
    "FocusProbing": "α on maps + β",
}


def is_probe(settings: dict) -> bool:
    """Return whether a checkpoint's settings are those of a grid of heads."""
    return _task_of(settings) in SYSTEM_OF


def probe_system(settings: dict) -> str:
    """Return which head it is, for people."""
    return SYSTEM_OF[_task_of(settings)]


def build_probe(path: Path, settings: dict, shown: dict) -> ProbedNetwork:
    """Build the frozen encoder with its weights, and heads with random ones.

    Args:
        path: of the checkpoint, for messages.
        settings: hyper-parameters of the task.
        shown: what the checkpoint says of the features, see `FrozenFeatureDataModule.state_dict`.

    Raises:
        UserError: the encoder is none of the suite's, or its weights are not there any more.
    """
    # Lightning comes with them, which takes seconds and is not needed for other checkpoints.
    from sta_tsn.features.clip_encoder import CLIP_ENCODER
    from sta_tsn.features.frozen_encoder import FrozenEncoder

    about = shown["encoder"]
    name = about.get("backbone", "")
    if not name:
        raise UserError(
            f"{path} learned from features that were made elsewhere ({about.get('encoder')}): the "
            "suite has no encoder to look at videos with. Import their features and test on them."
        )
    if name.startswith(CLIP_ENCODER):
        raise UserError(
            f"{path} learned from clips that {name} prepares itself; videos are answered through "
            "their features: sta-tsn features, then sta-tsn reproduce --model=probe."
        )
    weights = about["weights"]
    if weights not in ("imagenet", "none"):
        weights = _weights_file(path, about, shown)
    cnn = FrozenEncoder(name, weights).network
    encoder = MapEncoder(cnn) if _task_of(settings) == "FocusProbing" else FrameEncoder(cnn)
    return ProbedNetwork(encoder, _heads(settings))


def _task_of(settings: dict) -> str:
    return settings.get("_class_path", "").rpartition(".")[2]


def _weights_file(path: Path, about: dict, shown: dict) -> str:
    file = shown.get("weights_file", "")
    if not Path(file).is_file() or file_fingerprint(file) != about["weights"]:
        raise UserError(
            f"{path} learned from features by {about['backbone']} with weights of fingerprint "
            f"{about['weights']}; {file or 'the file, whose name was not kept,'} is not there or "
            "has other contents. Put it back."
        )
    return file


def _heads(settings: dict) -> nn.Module:
    """Return the grid that a task builds from these settings, with random weights."""
    width = settings["feature_dim"]
    num_classes = len(settings["classes"])
    task = _task_of(settings)
    if task == "NeighbourProbing":
        return NeighbourGrid(settings["neighbours"], width, num_classes)
    number = len(settings["lrs"]) * len(settings["weight_decays"])
    return HeadGrid([_head(task, settings, width, num_classes) for _ in range(number)], width)


def _head(task: str, settings: dict, width: int, num_classes: int) -> nn.Module:
    if task == "LinearProbing":
        return LinearProbe(width, num_classes)
    if task == "KeyFrameProbing":
        return KeyFrameProbe(width, num_classes, settings["hidden_dim"])
    if task == "FocusProbing":
        return FocusProbe(width, num_classes, settings["hidden_dim"])
    num_frames = math.prod(settings["frames"]) if settings["positions"] else None
    return AttentiveProbe(width, num_classes, num_frames, settings["num_heads"], settings["width"])
