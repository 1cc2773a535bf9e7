"""STIN: what is injected is what changes, and pairs of frames are what they say."""

import numpy as np
import pytest
import torch

from sta_tsn.datasets import VideoRecord
from sta_tsn.errors import ConfigError
from sta_tsn.models import STIN
from sta_tsn.models.stin import ApparentDifference, SelfAttention
from sta_tsn.tasks import InjectionBackbone
from sta_tsn.tasks.recognition import classification_loss
from sta_tsn.video import SegmentSampler
from sta_tsn.video.clips import ClipDataset


def test_frames_that_do_not_differ_inject_nothing():
    module = ApparentDifference(8).eval()
    frame = torch.rand(1, 8, 4, 4)
    features, where = module(frame.repeat(2, 1, 1, 1))
    assert features.shape == (1, 10)
    assert not features[:, 8:].any()
    torch.testing.assert_close(features[0, :8], frame.mean((2, 3))[0])
    torch.testing.assert_close(where, torch.full((1, 4, 4), 1 / 16))


def test_where_it_changes_is_where_the_frames_differ():
    module = ApparentDifference(8).eval()
    torch.nn.init.ones_(module.squeeze[0].weight)
    torch.nn.init.ones_(module.compare.weight)
    pair = torch.zeros(2, 8, 6, 6)
    pair[1, :, 1, 1] = 1
    _, where = module(pair)
    torch.testing.assert_close(where[0, :3, :3], torch.full((3, 3), 1 / 9))


def test_self_attention_by_hand():
    """Keys and queries that ignore the maps look everywhere alike: O is the mean of v."""
    module = SelfAttention(8)
    for layer in (module.query, module.key):
        torch.nn.init.zeros_(layer.weight)
    maps = torch.rand(2, 8, 3, 3)
    features, looked_at = module(maps)
    torch.testing.assert_close(features[:, :8], maps.mean((2, 3)))  # gamma is 0
    torch.testing.assert_close(features[:, 8:], module.value(maps).mean((2, 3)))
    torch.testing.assert_close(looked_at, torch.full((2, 3, 3), 1 / 9))
    torch.nn.init.ones_(module.gamma)
    torch.testing.assert_close(
        module(maps)[0][:, :8], (maps + module.value(maps).mean((2, 3), keepdim=True)).mean((2, 3))
    )


def test_a_pair_of_frames_is_one_image_with_six_channels(index_video):
    """Frame i of the video has the grey level 5 i."""
    record = VideoRecord("index", index_video, (0,), "index", 50)
    item = ClipDataset(
        [record], 2, SegmentSampler(3, 2, stack_length=6), "center", 32, pair_distance=5
    )[0, 0]
    assert item["clips"].shape == (1, 3, 2, 6, 32, 32)
    grey = item["clips"][0].float().mean((-1, -2)).numpy()  # (N, T, 6)
    np.testing.assert_allclose(grey[..., 0], 5 * item["frame_indices"].numpy())
    np.testing.assert_allclose(grey[..., 3:] - grey[..., :3], 25)


def test_in_a_video_shorter_than_the_distance_the_last_frame_is_the_second(index_video):
    record = VideoRecord("index", index_video, (0,), "index", 3)
    clips = ClipDataset(
        [record], 2, SegmentSampler(1, 1, stack_length=6), "center", 32, pair_distance=5
    )[0, 0]["clips"]
    assert clips[0, 0, 0, 0].float().mean() == 0
    assert clips[0, 0, 0, 3].float().mean() == 10


def test_the_loss_has_two_terms_and_the_auxiliary_head_no_say_in_the_scores(monkeypatch):
    torch.manual_seed(0)
    task = InjectionBackbone(["a", "b"], "test_resnet", "none", pair_distance=5, dropout=0.0)
    logged = {}
    monkeypatch.setattr(
        task,
        "log_training",
        lambda loss, scores, labels, **terms: logged.update(terms, scores=scores),
    )
    labels = torch.eye(2)
    batch = {
        "clips": torch.randint(0, 256, (2, 1, 3, 1, 6, 96, 96), dtype=torch.uint8),
        "labels": labels,
    }
    loss = task.training_step(batch)
    torch.testing.assert_close(loss, logged["loss_ce"] + 0.5 * logged["loss_auxiliary"])
    torch.testing.assert_close(logged["loss_ce"], classification_loss(logged["scores"], labels))
    features = torch.rand(1, 3, 1, task.model.encoder.feature_dim)
    before = task.model.classify(features).scores
    torch.nn.init.ones_(task.model.auxiliary_head.weight)
    assert torch.equal(task.model.classify(features).scores, before)


def test_what_is_ours_is_trained_though_the_backbones_batch_norms_are_not():
    task = InjectionBackbone(
        ["a", "b"],
        "test_resnet",
        "none",
        pair_distance=5,
        trained_batch_norms="none",
        frozen_share=1.0,
    )
    trained = {name for name, parameter in task.named_parameters() if parameter.requires_grad}
    assert trained == {
        name for name, _ in task.named_parameters() if not name.startswith("model.encoder.cnn")
    }


def test_a_checkpoint_alone_makes_the_network_again(tmp_path):
    task = InjectionBackbone(
        ["a", "b"], "test_resnet", "none", pair_distance=5, auxiliary_weight=0.25
    )
    again = InjectionBackbone(**task.hparams)
    assert isinstance(again.model, STIN)
    assert again.hparams.auxiliary_weight == 0.25
    assert again.model.settings == task.model.settings


def test_rgb_without_pairs_is_refused():
    with pytest.raises(ConfigError, match=r"data.pair_distance=0: STIN on RGB"):
        InjectionBackbone(["a", "b"], "test_resnet", "none")
    InjectionBackbone(["a", "b"], "test_resnet", "none", modality="flow")


def test_a_negative_distance_is_refused(mini_ucf101, tmp_path):
    from sta_tsn.datasets import UCF101
    from sta_tsn.video import VideoDataModule

    with pytest.raises(ConfigError, match="pair_distance=-1"):
        VideoDataModule(UCF101(str(mini_ucf101)), str(tmp_path / "manifest.csv"), pair_distance=-1)
