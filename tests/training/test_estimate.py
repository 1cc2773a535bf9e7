"""Minutes are said before a training starts, and saying them changes nothing of it."""

import pytest
import torch
from pytorch_lightning import Trainer

from sta_tsn.datasets import UCF101
from sta_tsn.tasks import SpatialAttentionBackbone
from sta_tsn.training.estimate import Costs, say_minutes, seconds
from sta_tsn.video import VideoDataModule


@pytest.fixture(scope="module")
def data(tmp_path_factory, mini_ucf101) -> VideoDataModule:
    manifest = tmp_path_factory.mktemp("estimated") / "manifest.csv"
    return VideoDataModule(UCF101(mini_ucf101), str(manifest), val_share=0.2, num_workers=0)


def test_what_is_said_leaves_weights_and_random_draws_as_they_were(data, capsys):
    task = SpatialAttentionBackbone(data.classes, "test_resnet", "none", input_px=64)
    trainer = Trainer(accelerator="cpu", max_epochs=2, logger=False, enable_checkpointing=False)
    before = {name: value.clone() for name, value in task.state_dict().items()}
    draws = torch.get_rng_state()
    say_minutes(trainer, task, data, all_parts=True)
    said = capsys.readouterr().out
    assert "to train (2 epochs of 12 videos) and " in said
    assert torch.equal(torch.get_rng_state(), draws)
    for name, value in task.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(parameter.grad is None for parameter in task.parameters())
    assert task.model.training


def test_every_video_is_counted_as_often_as_it_is_seen(data):
    data.prepare_data()
    data.setup()
    videos = data.videos
    assert (len(videos.train), len(videos.val), len(videos.test)) == (12, 3, 5)
    costs = Costs(train_video=1.0, test_video=100.0, view=10.0)
    train, test = seconds(data, costs, epochs=4, all_parts=True)
    # Of validation videos 3 x 3 of the 3 x 10 test frames are seen, one crop.
    assert train == pytest.approx(4 * (12 * 1.0 + 3 * 10.0 * 9 / 30))
    assert test == pytest.approx(5 * 100.0 + 3 * 10.0 + 12 * 10.0)
    _, without_training_videos = seconds(data, costs, epochs=4, all_parts=False)
    assert without_training_videos == pytest.approx(5 * 100.0 + 3 * 10.0)
