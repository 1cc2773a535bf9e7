import pytest
import torch
from torch.nn.functional import one_hot

from sta_tsn.datasets import VideoRecord, VideoSplit
from sta_tsn.errors import ConfigError, UserError
from sta_tsn.features import FeatureDataModule, FeatureStore, fit_frame_classifiers, judge_frames
from sta_tsn.features.frame_judgement import sampled_frames


def test_frame_classifiers_separate_what_is_separable():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(4).repeat_interleave(50)
    centres = 3 * torch.eye(4, 6)
    features = 10 + 5 * (centres[labels] + 0.3 * torch.randn(200, 6, generator=generator))
    weight, bias = fit_frame_classifiers(features, one_hot(labels, 5))
    logits = features @ weight.T + bias
    assert ((logits[:, :4] > 0) == one_hot(labels, 4).bool()).float().mean() > 0.99
    assert (logits[:, 4] == -torch.inf).all()  # no frame of the fifth class: never true


def test_positives_are_weighted_up_to_balance():
    """Of overlapping classes one frame in fifty is positive: an unbalanced fit would find none."""
    generator = torch.Generator().manual_seed(0)
    labels = (torch.arange(1000) % 50 == 0).long()
    features = labels[:, None] * 1.0 + torch.randn(1000, 2, generator=generator)
    weight, bias = fit_frame_classifiers(features, one_hot(labels, 2))
    said_true = (features @ weight[1] + bias[1] > 0).float()
    assert said_true[labels == 1].mean() > 0.6
    assert said_true[labels == 0].mean() < 0.4


def test_frames_are_judged_by_classifiers_that_did_not_see_their_group():
    """Classifiers that saw these frames of noise would call most true; out of fold it is chance."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(40, 3, 2, 200, generator=generator)
    labels = torch.arange(40) % 2
    out_of_fold = judge_frames(features, one_hot(labels, 2), [f"group{i}" for i in range(40)])
    weight, bias = fit_frame_classifiers(
        features.flatten(0, 2), one_hot(labels, 2).repeat_interleave(6, 0)
    )
    seen = torch.einsum("vntd,vd->vnt", features, weight[labels]) + bias[labels][:, None, None] > 0
    assert out_of_fold.shape == (40, 3, 2)
    assert out_of_fold.dtype == torch.bool
    assert seen.float().mean() > 0.95
    assert 0.35 < out_of_fold.float().mean() < 0.65


def test_irrelevant_frames_are_found():
    """Half of each video's frames look alike in all classes: those are more often judged false."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    features = 0.5 * torch.randn(60, 3, 4, 8, generator=generator)
    features[:, :, :2] += 2 * torch.eye(3, 8)[labels][:, None, None]
    relevant = judge_frames(features, one_hot(labels, 3), [f"group{i}" for i in range(60)])
    assert relevant[:, :, :2].float().mean() > 0.9
    assert (
        relevant[:, :, 2:].float().mean() < 0.6
    )  # with balanced classes, a frame that says nothing is even odds


def test_frames_of_a_multi_label_video_may_show_any_of_its_classes():
    generator = torch.Generator().manual_seed(0)
    shown = torch.arange(60) % 3
    features = 2 * torch.eye(3, 8)[shown][:, None, None] + 0.3 * torch.randn(
        60, 3, 4, 8, generator=generator
    )
    features[0, 0] = (
        2 * torch.eye(3, 8)[1]
    )  # video 0 shows class 1 in its first segment, class 0 in the others
    labels = one_hot(shown, 3)
    groups = [f"group{i}" for i in range(60)]
    assert not judge_frames(features, labels, groups)[0, 0].any()
    labels[0, 1] = 1
    assert judge_frames(features, labels, groups)[0].all()


def test_what_no_classifier_can_judge_counts_as_true():
    """A class of a single group is unknown to the classifiers that may judge it."""
    generator = torch.Generator().manual_seed(0)
    shown = torch.arange(30) % 3
    features = 2 * torch.eye(3, 8)[shown][:, None, None] + 0.3 * torch.randn(
        30, 3, 4, 8, generator=generator
    )
    groups = ["alone" if label == 0 else f"group{i}" for i, label in enumerate(shown.tolist())]
    relevant = judge_frames(features, one_hot(shown, 3), groups)
    assert relevant[shown == 0].all()
    assert relevant[shown != 0].float().mean() > 0.9
    assert judge_frames(features, one_hot(shown, 3), ["one"] * 30).all()


def test_sampled_frames_are_spread_over_each_video():
    """However few of a video are taken: the action in its middle is not passed over."""
    features = torch.arange(30.0).expand(400, 30).reshape(400, 3, 10, 1)
    for each in (1, 2, 3):
        sample, videos = sampled_frames(features, 400 * each)
        assert torch.equal(videos, torch.arange(400).repeat_interleave(each))
        in_the_middle = ((sample >= 10) & (sample < 20)).float().mean()
        assert 0.23 < in_the_middle < 0.43
    assert torch.equal(sampled_frames(features, 400 * 30)[0], features.reshape(-1, 1))


def test_judging_a_part_of_the_frames_finds_the_same():
    """Of each video some frames, or of many videos some videos."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(90) % 3
    features = 0.3 * torch.randn(90, 3, 4, 8, generator=generator)
    features[:, :, ::2] += 2 * torch.eye(3, 8)[labels][:, None, None]
    groups = [f"group{i}" for i in range(90)]
    whole = judge_frames(features, one_hot(labels, 3), groups)
    for count in (90 * 6, 60):
        sample, video_of_frame = sampled_frames(features, count)
        assert len(sample) == len(video_of_frame) == count
        assert video_of_frame.max() < 90
        part = judge_frames(features, one_hot(labels, 3), groups, max_fitted=count)
        assert part[:, :, ::2].float().mean() > 0.95
        assert (part == whole)[:, :, ::2].float().mean() > 0.95


def test_store_is_reused_for_the_same_maker_and_made_anew_for_another(tmp_path, capsys):
    record = VideoRecord("a/b", None, (0,), "g")
    split = VideoSplit([record], [], [], 0)
    store = FeatureStore(tmp_path / "features")
    store.open_for_writing({"made_by": "first"}, ["x", "y"], split, ("train",))
    store.write("a/b", features=torch.ones(1, 3, 2, 4, dtype=torch.half))
    assert not list(store.folder.rglob(".*"))  # no temporary file is left
    store.open_for_writing({"made_by": "first"}, ["x", "y"], split, ("train",))
    assert store.read("a/b")["features"].shape == (1, 3, 2, 4)
    store.open_for_writing({"made_by": "second"}, ["x", "y"], split, ("train",))
    assert "computed anew" in capsys.readouterr().out
    with pytest.raises(UserError, match="incomplete"):
        store.read("a/b")
    with pytest.raises(UserError, match="train stage one first"):
        _ = FeatureStore(tmp_path / "absent").about


def test_every_draw_of_a_training_video_is_one_of_its_views(tmp_path):
    from safetensors.torch import save_file

    record = VideoRecord("a/b", None, (0,), "g")
    store = FeatureStore(tmp_path)
    store.open_for_writing({}, ["x"], VideoSplit([record], [record], [], 0), ("train", "val"))
    store.write(
        record.id, features=torch.arange(10.0).half().reshape(10, 1, 1, 1).expand(10, 3, 2, 4)
    )
    save_file(
        {"relevant": torch.ones(1, 3, 2, dtype=torch.bool)}, tmp_path / "judgement.safetensors"
    )
    data = FeatureDataModule(str(tmp_path), batch_size=1, iterations_per_epoch=100, num_workers=0)
    drawn = [batch["features"] for batch in data.train_dataloader()]
    assert {features.shape for features in drawn} == {(1, 1, 3, 2, 4)}
    assert {features.unique().item() for features in drawn} == set(range(10))
    assert next(iter(data.val_dataloader()))["features"].shape == (
        1,
        10,
        3,
        2,
        4,
    )  # only training draws


def test_frames_are_dealt_out_to_other_segments(tmp_path):
    """Frame i has the feature i, the index 10 * i, and is judged true where it is even."""
    from safetensors.torch import save_file

    record = VideoRecord("a/b", None, (0,), "g")
    stored = FeatureStore(tmp_path)
    stored.open_for_writing(
        {"frames": [3, 10], "dataset": "d", "split": 1},
        ["x"],
        VideoSplit([record], [], [record], 0),
        ("train", "test"),
    )
    numbers = torch.arange(30).reshape(3, 10)
    tensors = {
        "features": numbers.half().reshape(1, 3, 10, 1).expand(2, 3, 10, 4),
        "frame_indices": 10 * numbers,
    }
    stored.write(
        record.id,
        **tensors,
        spatial_weights=numbers.half().reshape(1, 3, 10, 1, 1).expand(2, 3, 10, 7, 7),
    )
    save_file({"relevant": (numbers % 2 == 0)[None]}, tmp_path / "judgement.safetensors")
    for frames, expected in {
        (1, 30): range(30),
        (6, 5): range(30),
        (3, 5): range(1, 30, 2),
        (3, 1): (5, 15, 25),
    }.items():
        data = FeatureDataModule(
            str(tmp_path), batch_size=1, iterations_per_epoch=1, num_workers=0, frames=frames
        )
        wanted = torch.tensor(expected).reshape(frames)
        for batch in (next(iter(data.train_dataloader())), next(iter(data.test_dataloader()))):
            assert torch.equal(batch["features"][0, 0, ..., 0], wanted.half())
        assert torch.equal(next(iter(data.train_dataloader()))["relevant"][0], wanted % 2 == 0)
        read = data.store.read(record.id)
        assert torch.equal(read["frame_indices"], 10 * wanted)
        assert torch.equal(read["spatial_weights"][1, ..., 6, 6], wanted.half())
        assert (
            (data.protocol["segments"], data.protocol["frames_per_segment"])
            == frames
            == data.frames
        )
    for wrong in ((7, 4), (0, 10), (-3, -10), (3, 20)):
        with pytest.raises(
            ConfigError,
            match=rf"data.frames=\[{wrong[0]}, {wrong[1]}\]: .*(at least 1|the 30 frames)",
        ):
            _ = FeatureDataModule(str(tmp_path), frames=wrong).frames
    assert FeatureDataModule(str(tmp_path)).frames == (3, 10)


@pytest.mark.parametrize(
    "iterations, passes, expected",
    [(3, None, 3), (3, 100, 3), (50, 4, 10)],  # 10 videos in batches of 4: 4 passes are 10 batches
)
def test_an_epoch_is_so_many_iterations_or_passes(tmp_path, iterations, passes, expected):
    from safetensors.torch import save_file

    records = [VideoRecord(f"a/{i}", None, (0,), f"g{i}") for i in range(10)]
    store = FeatureStore(tmp_path)
    store.open_for_writing({}, ["x"], VideoSplit(records, [], [], 0), ("train",))
    for record in records:
        store.write(record.id, features=torch.ones(1, 3, 2, 4, dtype=torch.half))
    save_file(
        {"relevant": torch.ones(10, 3, 2, dtype=torch.bool)}, tmp_path / "judgement.safetensors"
    )
    data = FeatureDataModule(
        str(tmp_path),
        batch_size=4,
        iterations_per_epoch=iterations,
        max_passes_per_epoch=passes,
        num_workers=0,
    )
    batches = list(data.train_dataloader())
    assert len(batches) == expected
    assert batches[0]["features"].shape == (4, 1, 3, 2, 4)
    assert batches[0]["relevant"].shape == (
        4,
        3,
        2,
    )
