"""STA-LSTM's joint training and its road through `sta-tsn train`, on a miniature SBU."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

from sta_tsn.cli import main
from sta_tsn.datasets import JHMDBJoints
from sta_tsn.errors import ConfigError
from sta_tsn.evaluation import ScoreTable
from sta_tsn.runs.folder import RunFolder
from sta_tsn.tasks import SkeletonAttention

ROOT = Path(__file__).parents[2]
ROWS = ("lstm", "sa_lstm", "ta_lstm", "sta_lstm")
EPOCHS = [
    "--model.subnet_epochs=2",
    "--model.main_epochs=2",
    "--model.finetune_epochs=1",
]  # phases end after 2 4 5 7 9 10 12 13


class Killed(BaseException):
    """Not an Exception: Lightning must not tidy up."""


def fit(run: Path, root: Path, *options: str, row: str = "sta_lstm") -> RunFolder:
    experiments = ROOT / "experiments"
    configs = [
        f"--config={experiments}/{name}.yaml"
        for name in (f"models/sta_lstm/{row}", "datasets/sbu/lstm")
    ]
    tiny = [
        "--model.hidden_dim=6",
        f"--data.dataset.init_args.root={root}",
        f"--run_dir={run}",
        "--trainer.devices=1",
        *EPOCHS,
    ]
    assert main(["fit", *configs, *tiny, *options]) == 0
    return RunFolder(run)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, mini_sbu) -> RunFolder:
    return fit(tmp_path_factory.mktemp("trained") / "run", mini_sbu)


def metrics(run: RunFolder) -> list[dict]:
    """What was logged, without the step's times and memory, which no two runs share."""
    with open(run.metrics, newline="") as file:
        rows = [
            {key: value for key, value in row.items() if value and not key.startswith("step/")}
            for row in csv.DictReader(file)
        ]
    return [row for row in rows if row.keys() - {"epoch", "step"}]


def test_the_run_walks_through_all_phases_and_ends(trained):
    rows = [row for row in metrics(trained) if "train/accuracy" in row or "phase" in row]
    phases = {int(row["epoch"]): float(row["phase"]) for row in rows if "phase" in row}
    assert [phases[epoch] for epoch in range(13)] == [1, 1, 2, 2, 3, 4, 4, 5, 5, 6, 7, 7, 8]
    assert torch.load(trained.last, weights_only=True)["epoch"] == 12
    rates = [float(row["lr-Adam/pg1"]) for row in metrics(trained) if "lr-Adam/pg1" in row]
    # At the start and in the middle of a phase of two epochs.
    assert max(rates) == pytest.approx(2e-3)
    assert min(rates) == pytest.approx(1e-3)


@pytest.mark.parametrize("epoch", [2, 10])
def test_a_killed_run_goes_on_bit_equal(epoch, trained, mini_sbu, tmp_path, monkeypatch):
    """Killed within the first epoch of phase 2 and of phase 7; weights, Adam's state and scores."""
    step = SkeletonAttention.training_step

    def dying_step(task, batch):
        if task.current_epoch == epoch and task.global_step % 5 == 3:
            raise Killed
        return step(task, batch)

    monkeypatch.setattr(SkeletonAttention, "training_step", dying_step)
    with pytest.raises(Killed):
        fit(tmp_path / "run", mini_sbu)
    monkeypatch.undo()
    again = fit(tmp_path / "run", mini_sbu)
    ours, theirs = (torch.load(run.last, weights_only=True) for run in (again, trained))
    assert all(
        torch.equal(ours["state_dict"][name], value) for name, value in theirs["state_dict"].items()
    )
    for ours_state, state in zip(ours["optimizer_states"], theirs["optimizer_states"], strict=True):
        assert ours_state["state"].keys() == state["state"].keys()
        for index, moments in state["state"].items():
            assert all(
                torch.equal(ours_state["state"][index][name], value)
                for name, value in moments.items()
            )
    assert torch.equal(ScoreTable.load(again.scores).scores, ScoreTable.load(trained.scores).scores)
    assert metrics(again) == metrics(trained)


def test_only_the_phases_own_parts_change(mini_sbu, tmp_path, monkeypatch):
    """Weights after each of the 13 epochs of one run."""
    names = {
        "temporal": "model.temporal",
        "spatial": "model.spatial",
        "main": "model.main",
        "shallow": "shallow",
    }
    parts = {}

    def note_weights(task):
        weights = task.state_dict()
        parts[task.current_epoch + 1] = {
            part: torch.cat(
                [value.flatten() for key, value in weights.items() if key.startswith(start)]
            )
            for part, start in names.items()
        }

    monkeypatch.setattr(SkeletonAttention, "on_train_epoch_end", note_weights)
    fit(tmp_path / "run", mini_sbu, "--test=false", "--trainer.limit_train_batches=2")
    changed = [
        {p for p in parts[1] if not torch.equal(parts[epoch][p], parts[epoch + 1][p])}
        for epoch in range(1, 13)
    ]
    t, s, m, h = "temporal", "spatial", "main", "shallow"
    assert changed == [
        {t, h},
        {m},
        {m},
        {t, m},
        {s, h},
        {s, h},
        {m},
        {m},
        {s, m},
        {m},
        {m},
        {t, s, m},
    ]


def test_adam_starts_anew_in_each_phase(trained, mini_sbu, tmp_path):
    run = fit(tmp_path / "run", mini_sbu, "--trainer.max_epochs=3", "--test=false")
    task = SkeletonAttention.load_from_checkpoint(run.last, weights_only=True)
    names_of = {id(parameter): name for name, parameter in task.named_parameters()}
    names = [
        names_of[id(parameter)]
        for group in task.configure_optimizers().param_groups
        for parameter in group["params"]
    ]
    state = torch.load(run.last, weights_only=True)["optimizer_states"][0]["state"]
    steps_of_an_epoch = torch.load(run.last, weights_only=True)["global_step"] // 3
    assert len(names) == len(names_of)
    assert {names[index] for index in state} == {
        name for name in names if name.startswith("model.main")
    }
    assert {int(moments["step"]) for moments in state.values()} == {steps_of_an_epoch}


def test_a_checkpoint_alone_can_predict(trained):
    task = SkeletonAttention.load_from_checkpoint(trained.last, weights_only=True).eval()
    assert task.classes[5] == "hugging"
    assert task(torch.zeros(1, 7, 30, 3)).scores.shape == (1, 8)
    kept = torch.load(trained.last, weights_only=True)["datamodule_hyper_parameters"]
    assert kept == {"centre": True, "scale": True, "smoothing_frames": 5}


def test_phases_have_epochs():
    with pytest.raises(ConfigError, match=r"model.main_epochs=-1: a number of epochs"):
        SkeletonAttention(["a"], 30, main_epochs=-1)


def test_two_devices_are_refused():
    task = SkeletonAttention(["a", "b"], 30)
    task._trainer = type("Two", (), {"world_size": 2})()
    with pytest.raises(ConfigError, match=r"trainer\.devices.*Give 1"):
        task.on_fit_start()


# --- sta-tsn train


@pytest.fixture(scope="module")
def four_rows(tmp_path_factory, mini_sbu) -> tuple[Path, list[str]]:
    """`sta-tsn train` of one step an epoch: (runs, its command line)."""
    folder = tmp_path_factory.mktemp("four_rows")
    shutil.copytree(ROOT / "experiments", folder / "experiments")
    recipe = folder / "experiments/datasets/sbu" / "lstm.yaml"
    tiny = {
        "trainer": {"max_epochs": -1, "limit_train_batches": 1},
        "data": {"init_args": {"dataset": {"class_path": "sta_tsn.datasets.SBU"}}},
    }
    tiny["model"] = {
        "init_args": {"subnet_epochs": 1, "main_epochs": 1, "finetune_epochs": 1, "hidden_dim": 6}
    }
    recipe.write_text(json.dumps(tiny))
    command = [
        "train",
        "--dataset",
        "sbu",
        "--model",
        "sta_lstm",
        "--data",
        str(mini_sbu),
        "--split",
        "5",
    ]
    command += ["--runs", str(folder / "runs"), "--experiments", str(folder / "experiments")]
    assert main(command) == 0
    return folder / "runs", command


def test_train_fills_the_four_rows_of_a_fold(four_rows, capfd):
    runs, command = four_rows
    for row in ROWS:
        table = ScoreTable.load(
            runs / "sbu" / "split5" / row / "skeleton" / "seed0" / "lstm" / "scores.npz"
        )
        assert len(table.ids) == 40
        assert table.protocol["split"] == 5
        assert table.classes[0] == "approaching"
    pictures = sorted(
        path.name
        for path in (runs / "sbu" / "report" / "sta_lstm" / "split5" / "seed0").glob("*.png")
    )
    assert pictures == [
        *(f"attention_skeleton_{number}.png" for number in range(1, 5)),
        "confusion.png",
        "curves.png",
        "per_class.png",
    ]
    assert main(command) == 0
    printed = capfd.readouterr().out
    assert printed.count("done already") == 4
    assert all(f"│ {title} " in printed for title in ("LSTM", "SA-LSTM", "TA-LSTM", "STA-LSTM"))
    assert "SBU split 5, whole sequences, 40 test videos, 8 classes, seed 0" in " ".join(
        printed.split()
    )


def test_folds_are_reported(four_rows):
    """One fold has no published number beside it."""
    runs, _ = four_rows
    assert main(["report", "--dataset", "sbu", "--model", "sta_lstm", "--runs", str(runs)]) == 0
    folder = runs / "sbu" / "report" / "sta_lstm"
    text = (folder / "report.md").read_text()
    assert "ResNet" not in text
    assert "(paper" not in text
    assert "attention_skeleton_1.png" in text
    assert "| STA-LSTM, skeleton" in text


def test_a_changed_file_trains_anew(four_rows, mini_sbu_copy, capfd):
    """Same names and numbers of frames, another coordinate."""
    _, command = four_rows
    path = mini_sbu_copy / "s01s02" / "01" / "001" / "skeleton_pos.txt"
    command = [
        str(mini_sbu_copy) if part == command[command.index("--data") + 1] else part
        for part in command
    ]
    assert main(command) == 0
    assert capfd.readouterr().out.count("done already") == 4  # the data may move
    path.write_text(path.read_text().replace("0.5", "0.4", 1))
    assert main(command) == 0
    assert "settings or inputs changed" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--dataset", "sbu"],
            "model=sta_tsn learns from videos, dataset=sbu holds skeletons: use model=sta_lstm",
        ),
        (
            ["--dataset", "demo", "--model", "sta_lstm"],
            "model=sta_lstm learns from skeletons, dataset=demo holds videos",
        ),
        (
            ["--dataset", "sbu", "--model", "sta_lstm", "--backbone", "resnet18"],
            "backbone=resnet18: model=sta_lstm has no CNN",
        ),
        (
            ["--dataset", "sbu", "--model", "sta_lstm", "--modality", "flow"],
            "modality=flow: model=sta_lstm sees skeletons only",
        ),
        (
            ["--dataset", "sbu", "--model", "sta_lst"],
            "Unknown model 'sta_lst'. Did you mean sta_lstm",
        ),
    ],
)
def test_combinations_that_make_no_sense(options, message, capsys):
    assert main(["train", "--experiments", str(ROOT / "experiments"), *options]) == 1
    assert message in capsys.readouterr().err


def test_jhmdb_joints_go_the_same_road(mini_jhmdb, tmp_path):
    root = Path(shutil.copytree(mini_jhmdb, tmp_path / "jhmdb"))
    generator = np.random.default_rng(0)
    for record in JHMDBJoints(str(root)).records(1).videos:
        record.path.parent.mkdir(parents=True)
        savemat(record.path, {"pos_img": generator.uniform(0, 200, (2, 15, 9))})
    experiments = ROOT / "experiments"
    configs = [
        f"--config={experiments}/{name}.yaml"
        for name in ("models/sta_lstm/sta_lstm", "datasets/jhmdb_joints/lstm")
    ]
    tiny = [
        "--model.hidden_dim=6",
        f"--data.dataset.init_args.root={root}",
        f"--run_dir={tmp_path / 'run'}",
        "--trainer.devices=1",
        *EPOCHS,
    ]
    assert main(["fit", *configs, *tiny]) == 0
    table = ScoreTable.load(tmp_path / "run" / "scores.npz")
    assert table.protocol["dataset"] == "JHMDBJoints"
    assert len(table.ids) == len(JHMDBJoints(str(root)).records(1).test)


def test_flow_and_check_data_of_skeletons(mini_sbu, tmp_path, capsys):
    common = [
        "--dataset",
        "sbu",
        "--data",
        str(mini_sbu),
        "--runs",
        str(tmp_path),
        "--experiments",
        str(ROOT / "experiments"),
    ]
    assert main(["flow", *common]) == 1
    assert "no flow to extract" in capsys.readouterr().err
    assert main(["check-data", *common]) == 0
    printed = capsys.readouterr().out
    assert "168 listed, but 282 are published; 168 present, 168 readable" in printed
    assert "resolutions" not in printed
