"""Clip encoders of the `transformers` library: tiny random networks with their own processors."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tests_support import write_mini_experiments

from sta_tsn.cli import main
from sta_tsn.errors import ConfigError
from sta_tsn.features import FeatureStore
from sta_tsn.features.clip_encoder import CLIP_ENCODER, ClipEncoder
from sta_tsn.features.frozen_features import FramesOfVideo, FrozenFeatures
from sta_tsn.pipeline.options import TrainOptions
from sta_tsn.pipeline.probes import open_store

FRAMES = 8  # of a clip
SIDE = 2  # patches a side of a crop of 32 px


KINDS = pytest.mark.parametrize("kind", ["tiny_vjepa2", "tiny_videomae"])


def frames_of(num_frames: int) -> np.ndarray:
    generator = np.random.default_rng(0)
    return generator.integers(0, 255, (num_frames, 48, 64, 3), dtype=np.uint8)


@KINDS
def test_tokens_stand_where_the_network_puts_them(tiny_encoders, kind):
    """The library's own road: its processor, its network, tokens in the order T', H', W'."""
    transformers = pytest.importorskip("transformers")
    folder = tiny_encoders[kind].removeprefix(CLIP_ENCODER)
    frames = frames_of(FRAMES)
    processor = transformers.AutoVideoProcessor.from_pretrained(folder)
    network = transformers.AutoModel.from_pretrained(folder).eval()
    inputs = processor(list(torch.from_numpy(frames).permute(0, 3, 1, 2)), return_tensors="pt")
    with torch.no_grad():
        tokens = network(**inputs).last_hidden_state[0]
    encoded = ClipEncoder(tiny_encoders[kind]).encode(frames, 1, "both")
    steps = FRAMES // 2
    assert encoded["maps"].shape == (1, steps, SIDE, SIDE, 16)
    assert torch.allclose(encoded["maps"].flatten(1, 3)[0], tokens, atol=1e-5)
    assert torch.allclose(encoded["maps"].mean((2, 3)), encoded["features"], atol=1e-6)


@KINDS
def test_every_clip_of_a_video_is_encoded_for_itself(tiny_encoders, kind):
    encoder = ClipEncoder(tiny_encoders[kind])
    frames = frames_of(2 * FRAMES)
    together = encoder.encode(frames)["features"]
    second = encoder.encode(frames[FRAMES:])["features"]
    assert torch.allclose(together[:, FRAMES // 2 :], second, atol=1e-6)


@KINDS
def test_a_store_holds_clips_by_time_steps_and_the_span_of_each(
    tiny_encoders, kind, tmp_path, index_video
):
    indices = tuple(range(4, 4 + 2 * FRAMES))
    video = FramesOfVideo("a", index_video, 50, indices, segments=2)
    features = FrozenFeatures(tmp_path, ClipEncoder(tiny_encoders[kind]), "both")
    features.write_all([video])
    stored = FeatureStore(tmp_path).read("a")
    assert stored["maps"].shape == (1, 2, 4, SIDE, SIDE, 16)
    assert stored["features"].shape == (1, 2, 4, 16)
    assert stored["frame_spans"][0].tolist() == [[4, 5], [6, 7], [8, 9], [10, 11]]
    assert stored["frame_indices"][1].tolist() == [12, 14, 16, 18]


def test_the_command_line_stores_clips_and_the_probe_finds_them(
    tiny_encoders, mini_ucf101, tmp_path, capsys
):
    experiments = write_mini_experiments(tmp_path, mini_ucf101)
    backbone = tiny_encoders["tiny_vjepa2"]
    base = ["features", "--dataset", "mini", "--backbone", backbone, "--devices", "1"]
    base += ["--experiments", str(experiments), "--runs", str(tmp_path / "runs")]
    assert main([*base, "--splits", "1", "--kept", "both", "--segments", "2"]) == 0
    told = "20 videos, 320 frames, 1 crop(s): features 16 and maps 2 x 2 x 16"
    assert told in capsys.readouterr().out
    options = TrainOptions(
        dataset="mini",
        backbone=backbone,
        devices="1",
        experiments=str(experiments),
        runs=str(tmp_path / "runs"),
    )
    store = open_store(options, [1])
    assert "20 of 20 videos are done" in capsys.readouterr().out
    assert store.folder.name == "tiny_vjepa2"
    assert store.frames == (2, 4)
    assert store.about["encoder"]["backbone"] == backbone


def test_two_networks_of_one_name_are_told_apart_by_their_weights(tiny_encoders, tmp_path):
    source = Path(tiny_encoders["tiny_vjepa2"].removeprefix(CLIP_ENCODER))
    before = ClipEncoder(tiny_encoders["tiny_vjepa2"]).about
    for file in source.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    same = ClipEncoder(f"{CLIP_ENCODER}{tmp_path}").about
    assert same["weights"] == before["weights"]
    transformers = pytest.importorskip("transformers")
    network = transformers.AutoModel.from_pretrained(tmp_path)
    network.encoder.layernorm.bias.data += 1
    network.save_pretrained(tmp_path)
    other = ClipEncoder(f"{CLIP_ENCODER}{tmp_path}").about
    assert other["weights"] != before["weights"]
    assert other["preprocessing"] == before["preprocessing"]


def test_random_weights_are_the_same_ones_each_time(tiny_encoders):
    frames = frames_of(FRAMES)
    one = ClipEncoder(tiny_encoders["tiny_videomae"], "none").encode(frames)["features"]
    torch.rand(1)
    other = ClipEncoder(tiny_encoders["tiny_videomae"], "none").encode(frames)["features"]
    assert torch.equal(one, other)


def broken_copy(source: str, folder: Path, file: str, **changes) -> ClipEncoder:
    """Copy an encoder with other settings in one of its files."""
    for path in Path(source.removeprefix(CLIP_ENCODER)).iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    settings = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**settings, **changes}))
    return ClipEncoder(f"{CLIP_ENCODER}{folder}")


def test_a_processor_that_crops_to_another_size_is_refused_before_anything_is_read(
    tiny_encoders, tmp_path
):
    encoder = broken_copy(
        tiny_encoders["tiny_videomae"],
        tmp_path,
        "preprocessor_config.json",
        crop_size={"height": 24, "width": 24},
    )
    with pytest.raises(ConfigError, match="takes crops of 32 px, its processor makes them 24 x 24"):
        _ = encoder.about


def test_weights_that_lack_tensors_are_refused_not_filled_up_at_random(tiny_encoders, tmp_path):
    encoder = broken_copy(
        tiny_encoders["tiny_vjepa2"], tmp_path, "config.json", num_hidden_layers=2
    )
    with pytest.raises(ConfigError, match="tensors are not in its weights"):
        _ = encoder.network


def test_networks_of_other_kinds_are_refused_with_a_way_out(tmp_path):
    transformers = pytest.importorskip("transformers")
    transformers.ViTConfig(hidden_size=16).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="is a vit; clip encoders are V-JEPA 2"):
        _ = ClipEncoder(f"{CLIP_ENCODER}{tmp_path}").shape


@pytest.mark.parametrize(
    "options, told",
    [
        (["--weights", "imagenet"], "brings its own"),
        (["--crops", "10"], "with one crop"),
        (["--segments", "0"], "segments=0"),
    ],
)
def test_options_that_a_clip_encoder_does_not_take_are_named(
    tiny_encoders, mini_ucf101, tmp_path, capsys, options, told
):
    experiments = write_mini_experiments(tmp_path, mini_ucf101)
    base = ["features", "--dataset", "mini", "--backbone", tiny_encoders["tiny_vjepa2"]]
    assert main([*base, "--experiments", str(experiments), *options]) == 1
    assert told in capsys.readouterr().err


def test_a_folder_that_is_not_there_and_a_training_are_refused(tmp_path, capsys):
    absent = f"{CLIP_ENCODER}{tmp_path / 'absent'}"
    assert main(["features", "--dataset", "demo", "--backbone", absent]) == 1
    assert "no such folder" in capsys.readouterr().err
    assert main(["train", "--dataset", "demo", "--backbone", absent]) == 1
    assert "is a clip encoder" in capsys.readouterr().err
