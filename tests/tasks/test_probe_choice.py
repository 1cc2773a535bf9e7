"""Which head of a grid is tested: one chosen on validation videos of other sources alone."""

from pathlib import Path

import pytest
import torch
from pytorch_lightning import Trainer
from tests_support import train_heads
from torch.nn.functional import one_hot

from sta_tsn.artefacts import write_json
from sta_tsn.errors import ConfigError
from sta_tsn.features import FeatureStore, FrozenFeatureDataModule
from sta_tsn.tasks import AttentiveProbing, LinearProbing
from sta_tsn.tasks.controls import controlled_scores
from sta_tsn.tasks.probe import Tally

NUM_CLASSES = 3


def write_planted_store(folder: Path, with_test_files: bool = True) -> FeatureStore:
    """Training and validation videos have their class's feature, test videos that of the next."""
    store = FeatureStore(folder)
    sides = {"train": [], "val": [], "test": []}
    videos = []
    for side, shift in (("train", 0), ("val", 0), ("test", 1)):
        for number in range(6):
            name = f"{side}/{number}"
            label = number % NUM_CLASSES
            videos.append({"id": name, "labels": [label], "group": name})
            sides[side].append(name)
            feature = one_hot(torch.tensor((label + shift) % NUM_CLASSES), NUM_CLASSES)
            if side != "test" or with_test_files:
                store.write(
                    name,
                    features=feature.half().expand(1, 1, 4, -1),
                    frame_indices=torch.arange(4).view(1, 4),
                )
    about = {
        "encoder": {"encoder": "planted"},
        "crops": 1,
        "kept": "pooled",
        "dataset": "planted",
        "classes": ["a", "b", "c"],
        "frames": [1, 4],
        "videos": videos,
        "splits": {"1": {**sides, "missing": 0}},
    }
    write_json(folder / "store.json", about)
    return store


class PlantedProbing(LinearProbing):
    """Two heads that do not move: one right on all validation videos, one on all test videos."""

    def build_grid(self):
        grid = super().build_grid()
        of_test = torch.eye(NUM_CLASSES).roll(1, dims=1)
        for head, weight in zip(grid.heads, (of_test, torch.eye(NUM_CLASSES)), strict=True):
            head.head.weight.data.copy_(weight)
        return grid


def accuracy(task: LinearProbing, trainer: Trainer, data: FrozenFeatureDataModule) -> float:
    trainer.test(task, datamodule=data, verbose=False)
    right = 0
    for index, output in task.test_outputs.items():
        right += int(output["scores"].argmax()) in data.test_videos[index]["labels"]
    return right / len(data.test_videos)


def test_a_head_that_is_best_on_test_is_not_chosen(tmp_path):
    write_planted_store(tmp_path)
    data = FrozenFeatureDataModule(str(tmp_path), batch_size=6, iterations_per_epoch=1)
    task = PlantedProbing(data.classes, 3, data.frames, lrs=[0.0, 0.0], weight_decays=[0.0])
    trainer = train_heads(task, data, tmp_path)
    assert int(task.model.chosen) == 1
    assert task.val_accuracies.tolist() == [0, 1]
    assert accuracy(task, trainer, data) == 0
    task.model.chosen.fill_(0)  # what choosing on test would have shown
    assert accuracy(task, trainer, data) == 1


def test_choosing_reads_no_test_video(tmp_path):
    write_planted_store(tmp_path, with_test_files=False)
    data = FrozenFeatureDataModule(str(tmp_path), batch_size=6, iterations_per_epoch=1)
    task = PlantedProbing(data.classes, 3, data.frames, lrs=[0.0, 0.0], weight_decays=[0.0])
    train_heads(task, data, tmp_path)
    assert int(task.model.chosen) == 1


def test_a_grid_without_validation_videos_is_refused(tmp_path):
    write_planted_store(tmp_path)
    data = FrozenFeatureDataModule(str(tmp_path), batch_size=6, iterations_per_epoch=1)
    data.videos.val.clear()
    task = LinearProbing(data.classes, 3, data.frames)
    with pytest.raises(ConfigError, match="no validation videos to choose a head by"):
        train_heads(task, data, tmp_path)


def test_of_equally_right_heads_the_one_with_the_least_loss_is_best_and_a_diverged_one_never():
    labels = one_hot(torch.tensor([0, 1]), 2).float()
    sure = 5 * labels
    unsure = labels
    wrong = 5 - sure
    diverged = torch.full((2, 2), torch.nan)
    tally = Tally(4)
    tally.add(torch.stack([diverged, unsure, sure, wrong]), labels)
    assert tally.best() == 2


def test_controls_leave_a_head_that_is_blind_to_order_where_it_is():
    task = LinearProbing(["a", "b"], 4, (2, 3), lrs=[1.0], weight_decays=[0.0])
    torch.nn.init.normal_(task.model.heads[0].head.weight)
    features = torch.randn(5, 2, 3, 4)
    scores = controlled_scores(task.model, features, takes_places=False)
    intact = task.model.classify(features).scores
    assert torch.allclose(scores["shuffled"], intact, atol=1e-5)
    assert torch.allclose(scores["reversed"], intact, atol=1e-5)
    middle = features.flatten(1, 2)[:, 3][:, None, None]
    assert torch.allclose(scores["single frame"], task.model.classify(middle).scores, atol=1e-5)
    assert "most attended dropped" not in scores  # nothing is attended


def test_the_frames_that_are_dropped_are_those_with_the_most_and_the_least_weight():
    task = AttentiveProbing(
        ["a", "b"], 4, (2, 3), positions=True, num_heads=1, width=2, lrs=[1.0], weight_decays=[0.0]
    )
    head = task.model.heads[0]
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    features = torch.randn(5, 2, 3, 4)
    scores = controlled_scores(task.model, features, takes_places=True)
    beta = head(features).temporal_weights
    for name, order in (("most attended dropped", -beta), ("least attended dropped", beta)):
        dropped = order.argmin(-1)  # one of each segment's three frames
        for video in range(5):
            kept = [[t for t in range(3) if t != dropped[video, n]] for n in range(2)]
            left = torch.stack([features[video, n, kept[n]] for n in range(2)])[None]
            places = torch.tensor(kept) + torch.tensor([[0], [3]])
            expected = head(left, places[None]).scores[0]
            assert torch.allclose(scores[name][video], expected, atol=1e-5)
