"""From features to attention: l_MSE (Eq 12) takes beta off frames that are judged false."""

from pathlib import Path

import pytest
import torch
from pytorch_lightning import seed_everything
from tests_support import bare_trainer
from torch import Tensor

from sta_tsn.artefacts import write_json
from sta_tsn.datasets import VideoRecord, VideoSplit
from sta_tsn.errors import UserError
from sta_tsn.features import FeatureDataModule, FeatureStore, judge_frames
from sta_tsn.features.frame_judgement import judge_videos, read_judgement, share_judged_false
from sta_tsn.tasks import TemporalAttentionTSN

CLASSES = ["a", "b", "c"]
NETWORK = {"num_classes": len(CLASSES), "backbone": "test_resnet"}
FEATURE_DIM = 96  # of that backbone


def videos_with_action_in_the_middle(
    num_videos: int, num_frames: int, feature_dim: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return features (V, 1, T, D), labels (V,), and bool (V, 1, T): which frames show the action.

    The action is in the middle third of each video; the other frames look alike in all classes.
    """
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(num_videos) % len(CLASSES)
    action = torch.zeros(num_videos, 1, num_frames, dtype=torch.bool)
    action[..., num_frames // 3 : 2 * num_frames // 3] = True
    features = torch.randn(num_videos, 1, num_frames, feature_dim, generator=generator) / 2
    features[..., 0] += 2 * ~action
    for video, label in enumerate(labels.tolist()):
        features[video, ..., 1 + label] += 3 * action[video]
    return features, labels, action


def test_action_in_the_middle_is_judged_true_where_few_frames_of_each_video_are_fitted():
    """As above 50,000 videos, of which one frame each is fitted; the first frame would show none.

    Frames without action are judged true as often as chance has it.
    """
    features, labels, action = videos_with_action_in_the_middle(900, 30, 8)
    groups = [f"group{number}" for number in range(900)]
    one_hot = torch.nn.functional.one_hot(labels, len(CLASSES))
    judged = judge_frames(features, one_hot, groups, max_fitted=900)
    assert judged[action].float().mean() > 0.95
    assert judged[~action].float().mean() < 0.6
    by_first_frames = judge_frames(
        features[:, :, :1].expand(-1, -1, 30, -1), one_hot, groups, max_fitted=900
    )
    assert by_first_frames.float().mean() < 0.6  # what such frames can tell


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> FeatureStore:
    """Features of 60 videos as stage one stores them, judged."""
    features, labels, _ = videos_with_action_in_the_middle(60, 6, FEATURE_DIM)
    records = []
    for number, label in enumerate(labels.tolist()):
        records.append(VideoRecord(f"video{number}", Path(), (label,), f"group{number}"))
    store = FeatureStore(tmp_path_factory.mktemp("features"))
    split = VideoSplit(records, [], [], 0)
    store.open_for_writing({"frames": [1, 6]}, CLASSES, split, ("train",))
    for record, of_video in zip(records, features, strict=True):
        indices = torch.arange(6)[None]
        store.write(record.id, features=of_video[None].half(), frame_indices=indices)
    judge_videos(store, torch.device("cpu"))
    return store


def judge_like(store: FeatureStore, folder: Path, frame_indices: Tensor) -> FeatureStore:
    """Return a store of the same videos by another encoder, which sees no action anywhere."""
    judge = FeatureStore(folder)
    write_json(judge.folder / "store.json", {"frames": [1, 6], "encoder": folder.name})
    generator = torch.Generator().manual_seed(1)
    for video in store.about["videos"]["train"]:
        noise = torch.randn(1, 1, 6, 8, generator=generator).half()
        judge.write(video["id"], features=noise, frame_indices=frame_indices)
    return judge


def test_features_of_an_encoder_that_did_not_learn_the_videos_judge_where_asked(store, tmp_path):
    """Noise tells one of three balanced classes as often as a coin does."""
    own = read_judgement(store)
    judge = judge_like(store, tmp_path, torch.arange(6)[None])
    data = FeatureDataModule(str(store.folder), judged_by=str(tmp_path), num_workers=0)
    data.prepare_data()
    share = share_judged_false(store, judge)
    assert 0.4 < share < 0.6
    given = torch.cat([batch["relevant"] for batch in data.train_dataloader()])
    assert (~given).float().mean() == pytest.approx(share, abs=0.05)
    assert torch.equal(read_judgement(store), own)  # the run's own judgement stays beside it


def test_a_judge_of_other_frames_is_refused(store, tmp_path):
    judge_like(store, tmp_path, torch.arange(1, 7)[None])
    data = FeatureDataModule(str(store.folder), judged_by=str(tmp_path))
    with pytest.raises(UserError, match="holds other frames of video0"):
        data.prepare_data()


def test_a_judge_that_lacks_a_video_is_refused(store, tmp_path):
    judge = judge_like(store, tmp_path, torch.arange(6)[None])
    judge.path("video7").unlink()
    data = FeatureDataModule(str(store.folder), judged_by=str(tmp_path))
    with pytest.raises(UserError, match="has no features of video7"):
        data.prepare_data()


def attention_on_false_frames(store: FeatureStore, regularized: bool) -> float:
    """Return the mean beta of frames judged false, after 20 steps of stage two."""
    seed_everything(0, verbose=False)
    task = TemporalAttentionTSN(
        CLASSES,
        network=NETWORK,
        hidden_dim=8,
        dropout=0.0,
        lr=3.0,
        temporal_regularization=regularized,
    )
    data = FeatureDataModule(
        str(store.folder), batch_size=10, iterations_per_epoch=20, num_workers=0
    )
    trainer = bare_trainer(max_epochs=1, limit_val_batches=0)
    trainer.fit(task, data)
    videos = store.about["videos"]["train"]
    features = torch.cat([store.read(video["id"])["features"] for video in videos]).float()
    with torch.no_grad():
        beta = task.eval().model.classify(features).temporal_weights
    return float(beta[~read_judgement(store)].mean())


def test_l_mse_takes_attention_off_the_frames_judged_false(store):
    """The same training with the term and without it, from the same weights and in one order."""
    assert 0.2 < share_judged_false(store) < 0.5
    without = attention_on_false_frames(store, regularized=False)
    with_term = attention_on_false_frames(store, regularized=True)
    assert with_term < 0.5 * without
