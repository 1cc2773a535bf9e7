"""Features by a network that nobody trained here: what is stored, and when it is made anew."""

from types import SimpleNamespace

import pytest
import torch
from tests_support import features_command as command

from sta_tsn.artefacts import read_json
from sta_tsn.cli import main
from sta_tsn.errors import UserError
from sta_tsn.features import FeatureStore
from sta_tsn.features.frozen_encoder import FrozenEncoder
from sta_tsn.features.frozen_extraction import _Extraction
from sta_tsn.features.frozen_features import FramesOfVideo, FrozenFeatures
from sta_tsn.video import SegmentSampler, VideoReader

VIDEO = "Jump/v_Jump_g01_c01"


def test_the_store_holds_what_the_encoder_says_of_the_frames_of_testing(frozen_store, mini_ucf101):
    _, runs = frozen_store
    stored = FeatureStore(runs / "mini" / "features" / "test_resnet").read(VIDEO)
    indices = SegmentSampler(3, 10)(14)
    frames = VideoReader(mini_ucf101 / "UCF-101" / f"{VIDEO}.avi").read(indices.flatten())
    encoded = FrozenEncoder("test_resnet", "none").encode(frames, 1, "both")
    assert torch.equal(stored["frame_indices"], indices)
    for name in ("features", "maps"):
        expected = encoded[name].unflatten(1, (3, 10))
        assert stored[name].shape == expected.shape
        assert torch.allclose(stored[name].float(), expected, atol=2e-3, rtol=2e-3)


def test_ten_crops_begin_with_the_centre_crop_and_maps_average_to_the_pooled_features():
    frames = torch.randint(0, 255, (2, 60, 80, 3), dtype=torch.uint8).numpy()
    encoder = FrozenEncoder("test_resnet", "none")
    ten = encoder.encode(frames, 10, "both")
    assert ten["features"].shape[:2] == (10, 2)
    assert torch.allclose(ten["features"][:1], encoder.encode(frames)["features"], atol=1e-5)
    assert torch.allclose(ten["maps"].mean((2, 3)), ten["features"], atol=1e-5)


def test_the_store_says_of_every_split_which_videos_it_has(frozen_store):
    about = read_json(frozen_store[1] / "mini/features/test_resnet/store.json")
    assert about["encoder"] == {"backbone": "test_resnet", "weights": "none"}
    assert len(about["videos"]) == 20
    sides = about["splits"]["1"]
    assert (len(sides["train"]), len(sides["test"]), sides["missing"]) == (15, 5, 0)


def test_only_what_is_missing_is_encoded(frozen_store, capsys):
    experiments, runs = frozen_store
    store = FeatureStore(runs / "mini" / "features" / "test_resnet")
    other = store.path("Run/v_Run_g02_c01")
    before = other.stat().st_mtime_ns
    store.path(VIDEO).unlink()
    assert main(command(experiments, runs)) == 0
    printed = capsys.readouterr().out
    assert "19 of 20 videos are done" in printed
    assert "1 videos, 30 frames" in printed
    assert store.path(VIDEO).exists()
    assert other.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "options, told", [(["--kept", "map"], "kept both, not map"), (["--crops", "10"], "crops 1")]
)
def test_a_store_of_other_contents_is_refused_not_overwritten(frozen_store, capsys, options, told):
    experiments, runs = frozen_store
    assert main(command(experiments, runs, *options)) == 1
    assert told in capsys.readouterr().err


def test_features_that_do_not_fit_on_the_disk_are_refused_before_any_is_made(
    frozen_store, tmp_path, monkeypatch, capsys
):
    experiments, runs = frozen_store
    (tmp_path / "mini").mkdir()
    (tmp_path / "mini/manifest.csv").write_bytes((runs / "mini/manifest.csv").read_bytes())
    full = SimpleNamespace(free=1000)
    monkeypatch.setattr("sta_tsn.features.frozen_extraction.shutil.disk_usage", lambda _: full)
    assert main(command(experiments, tmp_path)) == 1
    told = capsys.readouterr().err
    assert "in all; 0.00 GB are free" in told
    assert "Keep less of each frame" in told
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_video_whose_file_changed_is_encoded_anew(tmp_path, index_video):
    video = FramesOfVideo("a", index_video, 50, (1, 2, 3, 4), segments=2)
    features = FrozenFeatures(tmp_path, FrozenEncoder("test_resnet", "none"))
    features.write_all([video])
    assert features.store.read("a")["features"].shape == (1, 2, 2, 96)
    assert features.missing([video]) == []
    other_frames = FramesOfVideo("a", index_video, 50, (1, 2, 3, 5), segments=2)
    assert features.missing([other_frames]) == [other_frames]


def test_features_that_are_no_numbers_are_told_with_the_file(tmp_path, index_video, monkeypatch):
    video = FramesOfVideo("a", index_video, 50, (1, 2))
    features = FrozenFeatures(tmp_path, FrozenEncoder("test_resnet", "none"))
    broken = {"features": torch.full((1, 2, 4), torch.nan)}
    monkeypatch.setattr(features.encoder, "encode", lambda *_: broken)
    with pytest.raises(UserError, match=r"index\.mkv: features .* not finite"):
        features.write_all([video])


@pytest.mark.parametrize("options", [[], ["some/backbone", "--backbone", "resnet18"]])
def test_features_want_a_run_or_a_backbone(options, capsys):
    assert main(["features", *options]) == 1
    assert "one of the two" in capsys.readouterr().err


def test_two_processes_share_the_videos_out_and_leave_out_none(tmp_path, index_video):
    videos = [FramesOfVideo(f"{number}", index_video, 50, (number,)) for number in range(5)]
    features = FrozenFeatures(tmp_path, FrozenEncoder("test_resnet", "none"))
    met = []
    for rank in range(2):
        extraction = _Extraction(features, videos, workers=0)
        extraction._trainer = SimpleNamespace(global_rank=rank, world_size=2)
        met.append([index for index, _ in extraction.predict_dataloader()])
    assert met == [[0, 2, 4], [1, 3]]


def test_a_transformer_is_built_where_gradients_are_off_as_the_command_does():
    shapes = FrozenEncoder("test_vit", "none").entry_shapes("both")
    assert shapes == {"features": (64,), "maps": (10, 10, 64)}
