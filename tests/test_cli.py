import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sta_tsn.cli import main

ROOT = Path(__file__).parent.parent


@pytest.fixture
def say(capsys, monkeypatch):
    """Run `sta-tsn ARGS` in the repository's root: (exit status, what it said on stderr)."""
    monkeypatch.chdir(ROOT)

    def run(*arguments: str) -> tuple[int, str]:
        status = main(arguments)
        return status, capsys.readouterr().err

    return run


def test_help_imports_nothing_heavy():
    """Modules are counted, for clocks lie on busy machines."""
    program = "import sys; from sta_tsn.cli import main; main(['--help'])"
    shown = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", program],
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in shown.stderr.splitlines()}
    assert "sta_tsn.cli" in imported
    heavy = {"torch", "numpy", "pandas", "timm", "pytorch_lightning", "matplotlib", "cv2", "av"}
    assert not imported & heavy
    assert "train" in shown.stdout
    assert "check-data" in shown.stdout


@pytest.mark.parametrize(
    "options, complaint",
    [
        (["--dataset", "ucf110"], "Unknown dataset 'ucf110'. Did you mean ucf101"),
        (["--modality", "rbg"], "Unknown modality 'rbg'. Did you mean rgb"),
        (["--model", "sta-tsn"], "Unknown model 'sta-tsn'. Did you mean sta_tsn"),
        (["--backbone", "resnet512"], "Unknown backbone 'resnet512'. Did you mean resnet"),
        (["--weights", "absent.pth"], "weights=absent.pth: no such file"),
        (["--dataset", "jhmdb", "--data", "absent"], "JHMDB: no folder"),
        (["--devices", "x"], "devices=x: auto, a number of devices"),
        (["--devices", "0"], "devices=0: there "),  # is no GPU here, or are so many
        (["--devices", "0,99"], "devices=0,99: there "),
        (["--nodes", "0"], "nodes=0: a number of machines"),
        (["--seed", "-1"], "seed=-1: from 0 to"),
        (["--model", "smnet", "--backbone", "mobilenetv2_100"], "SMNet needs a ResNet's blocks"),
        (["--model", "smnet", "--backbone", "hrnet_w18_small"], "SMNet needs a ResNet's blocks"),
        (["--model", "sta_lstm", "--dataset", "sbu", "--modality", "flow"], "sees skeletons only"),
        (
            ["--runs", "setup.cfg/runs"],
            "setup.cfg/runs/demo: Not a directory. "
            "DATA must be readable, RUNS a folder to write to",
        ),
        (["--experiments", "absent"], "`sta-tsn recipes absent` copies the suite's recipes there"),
    ],
)
def test_wrong_names_are_named(say, tmp_path, options, complaint):
    status, error = say("train", "--runs", str(tmp_path), *options)
    assert status == 1
    assert complaint in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("devices", "fits"),
    [
        ("auto", True),
        ("-1", True),
        ("2", True),
        ("0,1", True),
        ("0", False),
        ("3", False),
        ("0,2", False),
    ],
)
def test_devices_on_a_machine_with_two_gpus(say, tmp_path, monkeypatch, devices, fits):
    """A backbone that is none is said where the devices are there."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    _, error = say(
        "train", "--runs", str(tmp_path), "--devices", devices, "--backbone", "resnet512"
    )
    assert ("there are 2 GPUs here" in error) != fits
    assert ("resnet512" in error) == fits


@pytest.mark.parametrize(
    "override, complaint",
    [
        ("--model.hiden_dim=3", "'model.hiden_dim'. Did you mean model.hidden_dim"),
        ("--data.batchsize=3", "'data.batchsize'. Did you mean data.batch_size"),
        ("--trainer.max_epoch=3", "'trainer.max_epoch'. Did you mean trainer.max_epochs"),
        ("--modle.lr=3", "'modle'. Did you mean model"),
        ("--model.lr=abc", "model.lr=abc does not fit"),
        ("--model.frames=[6,5]", "model.frames follows from the data (data.frames)"),
        ("--data.frames=[30]", "data.frames=[30] does not fit"),
        ("--trainer.max_epochs=two", "trainer.max_epochs=two does not fit"),
        ("--trainer.default_root_dir=x", "trainer.default_root_dir is set by the suite itself"),
    ],
)
def test_wrong_keys_and_values_are_named(say, tmp_path, override, complaint):
    configs = [
        f"--config=experiments/{name}.yaml"
        for name in ("models/sta_tsn/sta_tsn", "datasets/demo/temporal")
    ]
    status, error = say("fit", *configs, f"--run_dir={tmp_path}", override)
    assert status == 1
    assert complaint in error
    assert "the command line" in error


def test_wrong_keys_of_the_dataset_are_named(say, tmp_path):
    configs = [
        f"--config=experiments/{name}.yaml"
        for name in ("models/sta_tsn/cnn", "datasets/ucf101/backbone")
    ]
    status, error = say(
        "fit", *configs, f"--run_dir={tmp_path / 'run'}", "--data.dataset.init_args.rot=x"
    )
    assert status == 1
    assert "'data.dataset.init_args.rot'. Did you mean data.dataset.init_args.root" in error
    assert not (tmp_path / "run").exists()


def test_weights_that_are_none_are_one_line(say, tmp_path, mini_ucf101):
    """What a constructor says, without jsonargparse's pages around it."""
    (tmp_path / "weights.pth").write_text("no weights")
    options = [
        f"--data.dataset.init_args.root={mini_ucf101}",
        f"--run_dir={tmp_path / 'run'}",
        f"--data.manifest={tmp_path / 'm.csv'}",
        f"--model.weights={tmp_path / 'weights.pth'}",
    ]
    status, error = say(
        "fit",
        "--config=experiments/models/sta_tsn/cnn.yaml",
        "--config=experiments/datasets/ucf101/backbone.yaml",
        *options,
    )
    assert status == 1
    assert "cannot be read as tensors alone" in error
    assert "Traceback" not in error
    assert len(error.splitlines()) < 4


def test_wrong_keys_in_a_file_name_the_file(say, tmp_path):
    config = tmp_path / "mine.yaml"
    config.write_text("model: {init_args: {drop_out: 0.5}}")
    status, error = say(
        "fit",
        "--config=experiments/models/sta_tsn/cnn.yaml",
        f"--config={config}",
        f"--run_dir={tmp_path}",
    )
    assert status == 1
    assert "mine.yaml" in error
    assert "Did you mean model.dropout" in error
    config.write_text("model: {init_args: {dropout: a third}}")
    status, error = say(
        "fit",
        "--config=experiments/models/sta_tsn/cnn.yaml",
        f"--config={config}",
        f"--run_dir={tmp_path / 'run'}",
    )
    assert status == 1
    assert "mine.yaml: model.dropout=a third does not fit" in error
    assert not (tmp_path / "run").exists()


def test_wrong_keys_are_found_before_frames_are_counted(say, tmp_path, mini_ucf101):
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments")
    recipe = tmp_path / "experiments/datasets/ucf101" / "temporal.yaml"
    recipe.write_text(recipe.read_text() + "\nmodle: {}\n")
    options = [
        "--dataset",
        "ucf101",
        "--data",
        str(mini_ucf101),
        "--experiments",
        str(tmp_path / "experiments"),
        "--runs",
        str(tmp_path),
    ]
    status, error = say("train", *options)
    assert status == 1
    assert "temporal.yaml" in error
    assert "Did you mean model" in error
    assert not (tmp_path / "ucf101").exists()


def test_explain_wants_a_checkpoint(say, tmp_path):
    assert "no such checkpoint" in say("explain", "video.avi", "absent.ckpt")[1]
    (tmp_path / "wrong.ckpt").write_bytes(b"garbage")
    torch.save({"state_dict": {}, "hyper_parameters": {}}, tmp_path / "other.ckpt")
    for between in ([], ["--checkpoint"]):
        said = say("explain", "video.avi", *between, str(tmp_path / "wrong.ckpt"))[1]
        assert "no checkpoint" in said
        said = say("explain", "video.avi", *between, str(tmp_path / "other.ckpt"))[1]
        assert "of something else" in said


def test_make_help_lists_every_target():
    makefile = (ROOT / "Makefile").read_text()
    listed = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    phony = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert set(" ".join(phony).split()) == listed


def test_readme_names_no_target_that_is_not_there():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):.*##", makefile, re.MULTILINE))
    named = set(re.findall(r"make ([a-z-]+)", (ROOT / "README.md").read_text()))
    assert {"train", "test", "predict", "help"} <= named
    assert named <= targets
