"""`sta-tsn train --model probe`: every head on one store, compared in one report."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import sta_tsn
from sta_tsn.artefacts import read_json, write_json
from sta_tsn.cli import main
from sta_tsn.errors import UserError
from sta_tsn.evaluation import ScoreTable
from sta_tsn.explanation.explained_video import explained_video
from sta_tsn.pipeline.probes import HEADS

STORE = "mini/features/test_resnet"
CONTROLS = {"shuffled", "reversed", "single frame"}
DROPPED = {"most attended dropped", "least attended dropped"}


def command(experiments: Path, runs: Path, *options: str) -> list[str]:
    base = ["train", "--model", "probe", "--features", str(runs / STORE)]
    base += ["--experiments", str(experiments), "--runs", str(runs), "--epochs", "1"]
    return [*base, "--set", "data.val_share=0.4", "data.iterations_per_epoch=2", *options]


@pytest.fixture(scope="module")
def probed(frozen_store, tmp_path_factory) -> tuple[Path, Path]:
    """All heads and two of few labels, trained for a moment: experiments and runs."""
    experiments, runs = frozen_store
    copy = tmp_path_factory.mktemp("probed") / "runs"
    shutil.copytree(runs, copy)
    assert main(command(experiments, copy)) == 0
    return experiments, copy


def scores(runs: Path, head: str) -> ScoreTable:
    return ScoreTable.load(runs / f"mini/split1/probe_{head}/test_resnet/seed0/probe")


def test_every_head_is_tested_once_on_the_test_videos_with_its_controls(probed):
    for head in HEADS:
        table = scores(probed[1], head.name)
        assert len(table.ids) == 5
        attends = table.temporal_weights is not None
        assert set(table.controls) == (CONTROLS | DROPPED if attends else CONTROLS)
        assert table.protocol["chosen_on"] > 0
        assert table.protocol["encoder"]["backbone"] == "test_resnet"


def test_the_report_compares_every_two_heads_and_shows_the_controls(probed):
    folder = probed[1] / "mini/report/probe"
    differences = pd.read_csv(folder / "differences.csv")
    assert len(differences) == len(HEADS) * (len(HEADS) - 1) / 2
    controls = pd.read_csv(folder / "controls.csv", index_col=0)
    assert len(controls) == len(HEADS)
    assert set(controls.columns) > CONTROLS
    choices = pd.read_csv(folder / "choices.csv")
    assert (choices["of"] > 1).all()
    assert "heads on frozen features" in (folder / "report.md").read_text()
    assert (folder / "index.html").exists()


@pytest.mark.parametrize("head", HEADS)
def test_a_heads_checkpoint_answers_on_videos_as_it_was_tested(probed, mini_ucf101, head):
    run = probed[1] / f"mini/split1/probe_{head.name}/test_resnet/seed0/probe"
    table = ScoreTable.load(run)
    model = sta_tsn.load(run / "checkpoints" / "last.ckpt")
    for row in (0, 4):
        path = mini_ucf101 / "UCF-101" / f"{table.ids[row]}.avi"
        said = model.predict(path, crops=1).probabilities
        assert np.allclose(said, table.scores[row].softmax(0), atol=1e-3)


def test_the_pages_of_videos_are_given_a_heads_alpha_and_beta(probed, mini_ucf101):
    run = probed[1] / "mini/split1/probe_focus/test_resnet/seed0/probe"
    model = sta_tsn.load(run / "checkpoints" / "last.ckpt")
    video = mini_ucf101 / "UCF-101" / "Jump/v_Jump_g01_c01.avi"
    seen = explained_video(model, str(video)).streams[0]
    table = ScoreTable.load(run)
    row = table.ids.index("Jump/v_Jump_g01_c01")
    assert seen.network == "α on maps + β on test_resnet"
    assert seen.alpha.shape[:3] == (1, 3, 10)
    assert torch.allclose(seen.alpha.sum((-1, -2)), torch.ones(1, 3, 10), atol=1e-4)
    assert np.allclose(seen.beta, table.temporal_weights[row].squeeze(0), atol=1e-3)


def test_a_head_whose_encoder_is_not_the_suites_says_so_for_videos(probed, tmp_path):
    path = probed[1] / "mini/split1/probe_linear/test_resnet/seed0/probe/checkpoints/last.ckpt"
    state = torch.load(path, weights_only=True)
    for encoder, told in (
        ({"encoder": "my ViT"}, "made elsewhere .my ViT."),
        ({"backbone": "test_resnet", "weights": "0123456789ab"}, "fingerprint 0123456789ab"),
    ):
        state["FrozenFeatureDataModule"]["encoder"] = encoder
        torch.save(state, tmp_path / "last.ckpt")
        with pytest.raises(UserError, match=told):
            sta_tsn.load(tmp_path / "last.ckpt")


def test_repeated_the_command_trains_nothing(probed, capsys):
    assert main(command(*probed)) == 0
    printed = capsys.readouterr().out
    assert printed.count("done already") == len(HEADS)


def test_few_labels_are_drawn_by_seed_and_make_a_curve(probed):
    experiments, runs = probed
    options = ["--shots", "1", "--seed", "1"]
    assert main(command(experiments, runs, *options)) == 0
    table = ScoreTable.load(runs / "mini/split1/probe_linear_1_shots/test_resnet/seed1/probe")
    assert table.protocol["learned_from"] == 3  # one of each class
    report = runs / "mini/report/probe"
    curve = pd.read_csv(report / "shots.csv", index_col=0)
    assert list(curve.columns) == ["1 a class"]
    assert (report / "shots.png").exists()


def test_heads_that_need_maps_are_left_out_where_there_are_none(frozen_store, tmp_path, capsys):
    experiments, runs = frozen_store
    shutil.copytree(runs, tmp_path / "runs")
    about = read_json(tmp_path / "runs" / STORE / "store.json")
    write_json(tmp_path / "runs" / STORE / "store.json", {**about, "kept": "pooled"})
    options = ["--set", "data.val_share=0.4", "data.shots=1", "model.nothing=1"]
    assert main([*command(experiments, tmp_path / "runs"), *options]) == 1
    printed = capsys.readouterr()
    assert "α on maps + β (STA-TSN): left out" in printed.out
    assert "Unknown setting (of --set) 'model.nothing'" in printed.err


def test_features_of_a_stage_one_run_are_refused_for_probes(tmp_path, capsys):
    write_json(tmp_path / "store.json", {"made_by": "a checkpoint", "videos": {}})
    assert main(["train", "--model", "probe", "--features", str(tmp_path)]) == 1
    assert "features of a trained stage one" in capsys.readouterr().err


def test_probes_want_a_backbone_or_features(frozen_store, capsys):
    experiments, runs = frozen_store
    options = ["--dataset", "mini", "--experiments", str(experiments), "--runs", str(runs)]
    assert main(["train", "--model", "probe", *options]) == 1
    assert "backbone=<timm name>, or features=<store>" in capsys.readouterr().err
