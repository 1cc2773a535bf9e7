"""Heads behind encoders of every kind: random networks, real videos, from frames to answers."""

from pathlib import Path

import pytest
from tests_support import train_heads

from sta_tsn.artefacts import write_json
from sta_tsn.features import FrozenFeatureDataModule
from sta_tsn.features.clip_encoder import ClipEncoder
from sta_tsn.features.frozen_encoder import FrozenEncoder
from sta_tsn.features.frozen_features import FramesOfVideo, FrozenFeatures
from sta_tsn.tasks import FocusProbing

CLASSES = ["Jump", "Run"]
GROUPS = {"train": (3, 4, 5), "val": (6,), "test": (1, 2)}
INDICES = (0, 2, 4, 6, 8, 10, 12, 13)


def encoder_of(name: str, tiny_encoders: dict[str, str]) -> FrozenEncoder | ClipEncoder:
    """Return a random network of few blocks: it is its kind that matters."""
    if name in tiny_encoders:
        return ClipEncoder(tiny_encoders[name])
    blocks = {"depth": 1} if name.startswith("vit") else {"depths": (1, 1, 1, 1)}
    return FrozenEncoder({"name": name, "input_px": 64, "options": blocks}, "none")


def write_store(folder: Path, encoder: FrozenEncoder | ClipEncoder, videos: Path) -> None:
    """Encode one clip of every group of two classes of the miniature UCF101."""
    features = FrozenFeatures(folder, encoder, "map")
    sides = {"train": [], "val": [], "test": []}
    listed = []
    frames = INDICES if encoder.frames_per_entry > 1 else INDICES[::4]
    shown = []
    for label, name in enumerate(CLASSES):
        for side, groups in GROUPS.items():
            for group in groups:
                video = f"{name}/v_{name}_g{group:02d}_c01"
                listed.append({"id": video, "labels": [label], "group": f"{name} {group}"})
                sides[side].append(video)
                shown.append(FramesOfVideo(video, videos / f"{video}.avi", 14, frames))
    features.write_all(shown)
    about = {
        "encoder": {"encoder": "random"},
        "crops": 1,
        "kept": "map",
        "dataset": "mini",
        "classes": CLASSES,
        "frames": [1, len(frames) // encoder.frames_per_entry],
        "videos": listed,
        "splits": {"1": {**sides, "missing": 0}},
    }
    write_json(folder / "store.json", about)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("vit_small_patch16_dinov3", (2, 4, 4, 384)),
        ("vit_base_patch16_siglip_224", (2, 4, 4, 768)),
        ("convnext_tiny.dinov3_lvd1689m", (2, 2, 2, 768)),
        ("swin_tiny_patch4_window7_224", (2, 2, 2, 768)),
        ("tiny_vjepa2", (4, 2, 2, 16)),
        ("tiny_videomae", (4, 2, 2, 16)),
    ],
)
def test_attention_is_trained_and_tested_on_the_maps_of_any_encoder(
    name, shape, tiny_encoders, mini_ucf101, tmp_path
):
    write_store(tmp_path, encoder_of(name, tiny_encoders), mini_ucf101 / "UCF-101")
    data = FrozenFeatureDataModule(
        str(tmp_path), inputs="map", batch_size=6, iterations_per_epoch=2
    )
    task = FocusProbing(CLASSES, shape[-1], data.frames, 8, lrs=[0.001], weight_decays=[0.1, 1.0])
    before = [parameter.clone() for parameter in task.model.heads[0].parameters()]
    trainer = train_heads(task, data, tmp_path)
    trainer.test(task, datamodule=data, verbose=False)
    moved = [
        not parameter.equal(old)
        for parameter, old in zip(task.model.heads[0].parameters(), before, strict=True)
    ]
    assert any(moved)
    assert len(task.test_outputs) == 4
    output = task.test_outputs[0]
    assert output["scores"].shape == (2,)
    assert output["scores"].isfinite().all()
    assert output["temporal_weights"].shape[-2:] == (1, shape[0])
