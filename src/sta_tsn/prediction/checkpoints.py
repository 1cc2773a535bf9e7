"""A checkpoint of the suite, whichever stage and system it is of."""

import os
from dataclasses import dataclass
from pathlib import Path

import yaml

from sta_tsn.artefacts import first_line, load_checkpoint
from sta_tsn.errors import UserError
from sta_tsn.tasks import (
    ActionRecognition,
    InjectionBackbone,
    MotionBackbone,
    SpatialAttentionBackbone,
    TemporalAttentionTSN,
)
from sta_tsn.video.flow.flow_extraction import FlowSettings
from sta_tsn.video.flow.flow_store import FLOW_STACK, differing

# Hyper-parameters that one class alone writes into its checkpoints.
TASK_OF = {
    "network": TemporalAttentionTSN,
    "all_blocks": MotionBackbone,
    "auxiliary_weight": InjectionBackbone,
    "spatial_attention": SpatialAttentionBackbone,
}
PAPERS_FRAMES = (3, 10)
SMNETS_FRAMES = (8, 1)


@dataclass(frozen=True)
class Stream:
    """A trained network and how its test videos were shown to it.

    sampled: segments x frames of each that were encoded. read: those that the scores are made from;
    fewer where stage two learned from a part of them. mirror: mirrored views are among the crops.
    note: what a user should know of it; empty where nothing.
    """

    task: ActionRecognition
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


def load_stream(checkpoint: str | os.PathLike) -> Stream:
    """Load a checkpoint of either stage, without running code that it may hold.

    Raises:
        UserError: no such file, none of the suite, or of a network of skeletons.
    """
    path = Path(checkpoint)
    state = load_checkpoint(path, mmap=True)
    kind = _kind(path, state.get("hyper_parameters", {}))
    try:
        task = kind.load_from_checkpoint(path, map_location="cpu", weights_only=True).eval()
    except (TypeError, ValueError, RuntimeError, KeyError) as error:
        raise UserError(
            f"{path}: the checkpoint's network cannot be built ({first_line(error)}); "
            "train it again with this version."
        ) from error
    notes = []
    shown = state.get("VideoDataModule") or state.get("FeatureDataModule")
    if shown is None:
        shown = _shown_in_its_run(path)
    if shown is None:
        usual = SMNETS_FRAMES if kind is MotionBackbone else PAPERS_FRAMES
        shown = {"frames": usual}
        notes.append(
            f"{path} does not say how its test videos were shown, and no config.yaml of its run "
            f"lies beside it: {usual[0]} segments of {usual[1]} frames, mirrored views too, are "
            "taken. Train again where that is wrong."
        )
    sampled = tuple(shown.get("frames", PAPERS_FRAMES))
    read = tuple(task.hparams.get("frames") or sampled)
    ours = FlowSettings().as_dict()
    names = differing(shown.get("flow", ours), ours)
    if names:
        notes.append(
            "The network learned from flow of other settings than are computed here "
            f"({names}): its judgement may suffer."
        )
    return Stream(task, sampled, read, shown.get("mirror", True), " ".join(notes))


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


def _kind(path: Path, settings: dict) -> type[ActionRecognition]:
    if "num_joints" in settings:
        raise UserError(
            f"{path} learned from skeletons, not from videos. Give a checkpoint of a run on videos."
        )
    for name, kind in TASK_OF.items():
        if name in settings and "classes" in settings:
            return kind
    raise UserError(
        f"{path} is a checkpoint of something else than this suite's networks. "
        "Give runs/.../checkpoints/last.ckpt of a run."
    )
