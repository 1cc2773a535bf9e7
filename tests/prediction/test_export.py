"""Exported networks answer as their checkpoints do, in runtimes that know nothing of the suite."""

import json
import zipfile

import numpy as np
import onnxruntime
import pytest
import torch

from sta_tsn.cli import main
from sta_tsn.prediction.checkpoints import load_stream
from sta_tsn.prediction.predictor import shown_clip
from sta_tsn.tasks import SpatialAttentionBackbone, TemporalAttentionTSN

CLASSES = ["Jump", "Run", "Sit"]
NETWORK = {
    "num_classes": 3,
    "backbone": {"name": "test_resnet", "input_px": 64},
    "spatial_attention": True,
    "pool_sizes": (1, 3),
}


def save(path, task) -> None:
    """Write a checkpoint of random weights whose attention is not uniform."""
    torch.manual_seed(0)
    torch.nn.init.normal_(task.model.encoder.attention.score.weight)
    torch.nn.init.normal_(task.model.head.weight)
    state = {
        "state_dict": task.state_dict(),
        "hyper_parameters": dict(task.hparams),
        "pytorch-lightning_version": "2.6.6",
        "VideoDataModule": {"frames": [2, 4]},
    }
    torch.save(state, path)


@pytest.fixture(scope="module")
def videos(mini_ucf101) -> list[str]:
    return [str(path) for path in sorted(mini_ucf101.glob("UCF-101/*/*.avi"))[::7]]


def test_onnxruntime_answers_as_torch_does_for_any_number_of_videos(
    tmp_path, videos, capsys, monkeypatch
):
    save(tmp_path / "last.ckpt", TemporalAttentionTSN(CLASSES, network=NETWORK, hidden_dim=8))
    assert main(["export", str(tmp_path / "last.ckpt"), "--videos", *videos]) == 0
    said = capsys.readouterr().out
    assert f"Largest difference to torch on {len(videos)} videos: scores " in said
    session = onnxruntime.InferenceSession(tmp_path / "last.onnx")
    about = json.loads(session.get_modelmeta().custom_metadata_map["sta_tsn"])
    assert about["classes"] == CLASSES
    assert about["input"]["shape"] == ["batch", 2, 4, 3, 64, 64]
    assert list(about["outputs"]) == ["scores", "alpha", "beta"]
    stream = load_stream(tmp_path / "last.ckpt")
    clips = torch.cat([shown_clip(stream, video) for video in videos])
    with torch.no_grad():
        expected = stream.task.model(clips)
    scores, alpha, beta = session.run(list(about["outputs"]), {"clips": clips.numpy()})
    assert np.allclose(scores, expected.scores, atol=1e-4)
    assert np.allclose(alpha, expected.spatial_weights, atol=1e-4)
    assert np.allclose(beta, expected.temporal_weights, atol=1e-4)
    assert np.ptp(alpha) > 0.01  # attention that could be wrong
    monkeypatch.setattr("sta_tsn.prediction.exported.SHORTEST_RUN_SEC", 0)
    assert main(["benchmark", str(tmp_path / "last.onnx"), "--batch=2"]) == 0
    assert "videos/s" in capsys.readouterr().out


def test_torch_export_writes_a_file_without_pickles_or_copies_of_the_videos(
    tmp_path, videos, capsys
):
    backbone = {"backbone": NETWORK["backbone"], "weights": "none"}
    save(tmp_path / "last.ckpt", SpatialAttentionBackbone(CLASSES, **backbone))
    out = tmp_path / "exported.pt2"
    options = ["--format=torch_export", f"--out={out}", "--videos", *videos]
    assert main(["export", str(tmp_path / "last.ckpt"), *options]) == 0
    held = {"sta_tsn.json": ""}
    network = torch.export.load(out, extra_files=held).module()
    assert list(json.loads(held["sta_tsn.json"])["outputs"]) == ["scores", "alpha"]
    with torch.no_grad():
        scores, _ = network(torch.zeros(3, 2, 4, 3, 64, 64, dtype=torch.uint8))
    assert scores.shape == (3, 3)
    with zipfile.ZipFile(out) as file:
        examples = [one for one in file.infolist() if "/sample_inputs/" in one.filename]
        assert sum(one.file_size for one in examples) < 10_000


def test_files_that_are_no_exported_networks_are_one_sentence(tmp_path, capsys):
    class Evil:
        def __reduce__(self):
            return (print, ("code of a stranger",))

    (tmp_path / "noise.onnx").write_bytes(b"noise")
    (tmp_path / "noise.pt2").write_bytes(b"noise")
    torch.save(Evil(), tmp_path / "example.pt")
    with zipfile.ZipFile(tmp_path / "evil.pt2", "w") as file:
        file.write(tmp_path / "example.pt", "evil/data/sample_inputs/model.pt")
    expected = {
        "absent.onnx": "no such file",
        "noise.onnx": "damaged or no exported network",
        "noise.pt2": "damaged or no exported network",
        "evil.pt2": "could run code",
        "example.pt": "give a file ending in .onnx or .pt2",
    }
    for name, sentence in expected.items():
        assert main(["benchmark", str(tmp_path / name)]) == 1
        said = capsys.readouterr()
        assert sentence in said.err
        assert said.err.count("\n") == 1
        assert "stranger" not in said.out
