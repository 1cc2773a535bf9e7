"""A store of ten times the machine's memory, made of holes: reading it must not fill the memory."""

import json
import os
import resource
from pathlib import Path

import torch
from tests_support import train_heads

from sta_tsn.artefacts import write_json
from sta_tsn.features import FrozenFeatureDataModule
from sta_tsn.tasks import LinearProbing

GB = 10**9
NUM_VIDEOS = 24  # of two classes, 8 of them for testing
VIEW = (1, 16, 1024)  # N, T, D: 32 kB


def write_holes(path: Path, num_views: int) -> None:
    """Write a video's features as a file whose numbers, all 0, take no place on the disk."""
    size = num_views * 2 * VIEW[0] * VIEW[1] * VIEW[2]
    entry = {"dtype": "F16", "shape": [num_views, *VIEW], "data_offsets": [0, size]}
    header = json.dumps({"features": entry}).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(file.tell() + size)


def test_heads_are_trained_on_a_store_of_ten_times_the_memory(tmp_path):
    wanted = 10 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    num_views = wanted // NUM_VIDEOS // (2 * VIEW[1] * VIEW[2]) + 1
    sides = {"train": [], "val": [], "test": [], "missing": 0}
    videos = []
    for number in range(NUM_VIDEOS):
        name = f"{number % 2}/{number}"
        side = ("train", "val", "test")[number // 2 % 3]
        sides[side].append(name)
        videos.append({"id": name, "labels": [number % 2], "group": name})
        write_holes(tmp_path / f"{name}.safetensors", num_views)
    about = {
        "encoder": {"encoder": "holes"},
        "crops": num_views,
        "kept": "pooled",
        "dataset": "holes",
        "classes": ["a", "b"],
        "frames": VIEW[:2],
        "videos": videos,
        "splits": {"1": sides},
    }
    write_json(tmp_path / "store.json", about)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.safetensors")) >= wanted
    data = FrozenFeatureDataModule(
        str(tmp_path), batch_size=4, iterations_per_epoch=5, num_workers=0
    )
    task = LinearProbing(data.classes, VIEW[2], data.frames, lrs=[1e-3], weight_decays=[0.1])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    train_heads(task, data, tmp_path)
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    assert grown < GB
    assert task.val_losses.isfinite().all()
    assert torch.isfinite(task.model.heads[0].head.weight).all()
