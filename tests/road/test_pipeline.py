"""The whole road on miniature videos: real processes, real kills."""

import csv
import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tests_support import command, train

from sta_tsn.cli import main
from sta_tsn.errors import UserError
from sta_tsn.evaluation import ScoreTable
from sta_tsn.features.feature_store import FeatureStore
from sta_tsn.features.frame_judgement import read_judgement
from sta_tsn.runs.folder import RunFolder, only_one
from sta_tsn.tasks import SpatialAttentionBackbone, TemporalAttentionTSN
from sta_tsn.video import SegmentSampler, VideoReader, ten_crops

ROOT = Path(__file__).parents[2]
STAGES = (
    "cnn/rgb/seed0/backbone",
    "sa_cnn/rgb/seed0/backbone",
    "sta_tsn/rgb/seed0/backbone",
    "sta_tsn/rgb/seed0/temporal",
)


def tables(runs: Path) -> list[ScoreTable]:
    return [ScoreTable.load(runs / "mini" / "split1" / stage / "scores.npz") for stage in STAGES]


def test_the_epoch_that_validation_chose_is_tested_where_asked(trained, tmp_path):
    """THUMOS14's protocol; the others test the last epoch."""
    run = RunFolder(shutil.copytree(trained[1] / "mini" / "split1" / STAGES[0], tmp_path / "run"))
    assert run.tested_checkpoint == run.last
    run.note(select=True)
    assert run.tested_checkpoint == run.best
    assert run.best.exists()
    run.best.unlink()
    with pytest.raises(UserError, match="select=true, but no epoch was validated"):
        _ = run.tested_checkpoint


def test_four_rows_are_tested_and_reported(trained):
    _, runs, printed = trained
    for row in ("CNN", "SA-CNN", "SA-CNN+TSN", "STA-TSN"):
        assert f"│ {row} " in printed
    report = runs / "mini" / "report" / "sta_tsn" / "split1" / "seed0"
    assert f"Report: {report / 'index.html'}" in printed
    expected = {"index.html", "table2.csv", "report.json", "per_class.png", "confusion.png"}
    assert expected <= {path.name for path in report.iterdir()}
    assert len(list(report.glob("attention_*.jpg"))) == 4
    for table in tables(runs):
        assert len(table.ids) == 5
        assert table.protocol["crops"] == 10
        assert table.protocol["segments"] * table.protocol["frames_per_segment"] == 30
    assert tables(runs)[3].temporal_weights.shape == (5, 3, 10)


def test_the_network_learns_what_is_plain_to_see(trained):
    """The classes are red, green and blue: chance is 33 %."""
    assert tables(trained[1])[2].summary["micro accuracy %"] == 100


def test_loggers_are_always_on(trained):
    run = RunFolder(trained[1] / "mini" / "split1" / STAGES[3])
    with open(run.metrics, newline="") as file:
        names = set(next(csv.reader(file)))
    assert {"train/loss_ce", "train/loss_mse", "train/share_judged_false", "val/accuracy"} <= names
    assert {
        "step/gradient_norm",
        "step/data_wait_share",
        "step/clips_per_sec",
        "step/peak_memory_gb",
    } <= names
    assert list(run.path.glob("wandb/offline-run-*/*.wandb"))
    about = run.about
    assert about["seconds"]["fit"] > 0
    assert about["peak_memory_gb"] < 6
    assert about["commit"]


@pytest.mark.parametrize(
    "task, stage", [(SpatialAttentionBackbone, STAGES[2]), (TemporalAttentionTSN, STAGES[3])]
)
def test_tasks_name_what_they_log(trained, task, stage):
    """Sweep files are checked against these names."""
    with open(RunFolder(trained[1] / "mini" / "split1" / stage).metrics, newline="") as file:
        logged = {
            name
            for name in next(csv.reader(file))
            if name not in ("epoch", "step") and not name.startswith(("lr-", "step/"))
        }
    assert logged == set(task.metrics)


def test_nothing_is_redone(trained):
    experiments, runs, _ = trained
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*") if path.is_file()}
    printed = train(experiments, runs)
    assert printed.count("done already") == 4
    assert "Table 2" in printed
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("*") if path.is_file()} == before


def test_a_checkpoint_alone_gives_the_score_tables_numbers(trained):
    """Decode, crop and score test videos end to end, from each checkpoint, without a store."""
    _, runs, _ = trained
    for task_class, stage, table in zip(
        (SpatialAttentionBackbone, TemporalAttentionTSN), STAGES[2:], tables(runs)[2:], strict=True
    ):
        task = task_class.load_from_checkpoint(
            RunFolder(runs / "mini" / "split1" / stage).tested_checkpoint, weights_only=True
        ).eval()
        assert task.classes == table.classes
        with open(runs / "mini" / "manifest.csv", newline="") as file:
            manifest = {Path(row["path"]).stem: row for row in csv.DictReader(file)}
        for video_id, expected in list(zip(table.ids, table.scores, strict=True))[:2]:
            row = manifest[Path(video_id).name]
            indices = SegmentSampler()(int(row["num_frames"])).flatten().tolist()
            crops = torch.from_numpy(
                ten_crops(VideoReader(row["path"]).read(indices), task.model.input_px)
            )
            with torch.no_grad():
                scores = task(crops.permute(0, 1, 4, 2, 3).unflatten(1, (3, 10))).scores.mean(0)
            torch.testing.assert_close(
                scores, expected, rtol=0.01, atol=0.01
            )  # the store keeps fp16


def test_stage_two_reads_features_and_never_runs_the_cnn(trained, tmp_path, monkeypatch, capsys):
    experiments, runs, _ = trained
    backbone = RunFolder(runs / "mini" / "split1" / STAGES[2])
    from sta_tsn.models import CNN

    monkeypatch.setattr(CNN, "forward", lambda *_: pytest.fail("the CNN was run"))
    monkeypatch.setattr(CNN, "_check_map", lambda *_: 96)
    arguments = [
        f"--config={experiments}/models/sta_tsn/sta_tsn.yaml",
        f"--config={experiments}/datasets/mini/temporal.yaml",
        f"--run_dir={tmp_path / 'run'}",
    ]
    status = main(
        [
            "fit",
            *arguments,
            f"--data.features={backbone.features}",
            f"--model.backbone_checkpoint={backbone.tested_checkpoint}",
        ]
    )
    assert status == 0, capsys.readouterr().err
    assert (tmp_path / "run" / "scores.npz").exists()


def test_features_of_a_run_that_kept_none(trained, tmp_path, capsys):
    run = RunFolder(shutil.copytree(trained[1] / "mini" / "split1" / STAGES[1], tmp_path / "run"))
    with only_one(run.path):
        assert main(["features", str(run.path)]) == 1
        assert "Another process works in" in capsys.readouterr().err
    assert not run.features.exists(), capsys.readouterr().err
    assert main(["features", str(run.path)]) == 0, capsys.readouterr().err
    store = FeatureStore(run.features)
    assert {part: len(videos) for part, videos in store.about["videos"].items()} == {
        "train": 12,
        "val": 3,
        "test": 5,
    }
    assert store.read(store.about["videos"]["test"][0]["id"])["features"].shape[:3] == (10, 3, 10)
    assert len(read_judgement(store)) == 12
    assert main(["features", str(tmp_path / "absent")]) == 1
    assert "is no folder of a tested run" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"text\n" * 99])
def test_features_by_a_damaged_checkpoint_are_refused(trained, tmp_path, capsys, content):
    _, runs, _ = trained
    folder = RunFolder(shutil.copytree(runs / "mini" / "split1" / STAGES[0], tmp_path / "backbone"))
    folder.last.write_bytes(content)
    assert main(["features", str(folder.path)]) == 1
    said = capsys.readouterr().err
    assert f"{folder.last} is " in said
    assert "no checkpoint" in said


def test_a_cut_off_checkpoint_is_named(trained, tmp_path, capsys):
    _, runs, _ = trained
    folder = RunFolder(shutil.copytree(runs / "mini" / "split1" / STAGES[3], tmp_path / "temporal"))
    folder.scores.unlink()
    folder.last.write_bytes(folder.last.read_bytes()[:-1000])
    arguments = [
        argument for argument in folder.about["arguments"] if not argument.startswith("--run_dir=")
    ]
    assert main(["fit", *arguments, f"--run_dir={folder.path}"]) == 1
    assert f"{folder.last} is damaged" in capsys.readouterr().err
    folder.last.unlink()
    assert main(["fit", *arguments, f"--run_dir={folder.path}"]) == 0, capsys.readouterr().err


def test_changed_settings_train_anew_and_keep_the_old_run(trained):
    experiments, runs, _ = trained
    commented = experiments / "datasets/mini" / "backbone.yaml"
    commented.write_text(f"# A comment is no setting.\n{commented.read_text()}")
    config = experiments / "datasets/mini" / "temporal.yaml"
    original = config.read_text()
    config.write_text(original.replace("hidden_dim: 8", "hidden_dim: 6"))
    printed = train(experiments, runs)
    config.write_text(original)
    assert printed.count("done already") == 3
    assert "settings or inputs changed" in printed
    kept = list((runs / "mini" / "split1" / STAGES[3]).parent.glob("temporal.old-*"))
    assert len(kept) == 1
    assert (kept[0] / "scores.npz").exists()
    for path in kept:  # put the first run back for the other tests
        new = runs / "mini" / "split1" / STAGES[3]
        new.rename(new.with_name("temporal.changed"))
        path.rename(new)


# Nine processes, one after another, take long where other work keeps the cores busy.
@pytest.mark.timeout(1200)
def test_killed_in_every_stage_equals_uninterrupted(trained, tmp_path):
    """The rows before the last two, stage one as they are, are found done in their copies."""
    experiments, runs, _ = trained
    killed_runs = tmp_path / "runs"
    split = killed_runs / "mini" / "split1"
    for stage in STAGES[:2]:
        shutil.copytree(runs / "mini" / "split1" / stage, split / stage)
    moments = (
        split / STAGES[2] / "checkpoints" / "last.ckpt",
        split / STAGES[2] / "features" / "judgement.safetensors",
        split / STAGES[3] / "checkpoints" / "last.ckpt",
    )
    for moment in moments:
        process = subprocess.Popen(
            command(experiments, killed_runs),
            cwd=experiments.parent,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while not moment.exists():
            assert process.poll() is None, f"finished before {moment}"
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    printed = train(experiments, killed_runs)
    assert printed.count("done already") >= 3
    for whole, resumed in zip(tables(runs), tables(killed_runs), strict=True):
        assert whole.ids == resumed.ids
        assert torch.equal(whole.scores, resumed.scores)
    for stage in STAGES:
        assert learning_curve(runs, stage) == learning_curve(killed_runs, stage)


def learning_curve(runs: Path, stage: str) -> list[tuple]:
    """Return (step, loss, accuracy, learning rates) of every row of the metrics that has one.

    Lightning logs an epoch's training accuracy after its checkpoint; a kill between the two loses
    that one row.
    """
    with open(runs / "mini" / "split1" / stage / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    rates = sorted(name for name in rows[0] if name.startswith("lr-"))
    columns = ("train/loss", "val/accuracy", "val/loss", *rates)
    return [
        (row["step"], *(row[name] for name in columns))
        for row in rows
        if any(row[name] for name in columns)
    ]


@pytest.mark.parametrize("end", ["Ctrl-C", "SIGTERM to the first process alone"])
def test_ctrl_c_ends_cleanly_and_says_how_to_go_on(trained, tmp_path, end):
    experiments, _, _ = trained
    process = subprocess.Popen(
        command(experiments, tmp_path / "runs"),
        cwd=experiments.parent,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.default_int_handler
        ),  # a background job ignores it
    )
    checkpoint = tmp_path / "runs" / "mini" / "split1" / STAGES[0] / "checkpoints" / "last.ckpt"
    while not checkpoint.exists():
        assert process.poll() is None
        time.sleep(0.005)
    with (
        pytest.raises(UserError, match="Another process works in"),
        only_one(checkpoint.parents[1]),
    ):
        pass
    if end == "Ctrl-C":
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.terminate()
    said = process.communicate()[0]  # until the last process has closed its output
    assert process.returncode != 0
    assert "goes on" in said
    assert "Traceback" not in said
    with only_one(checkpoint.parents[1]):
        assert not (checkpoint.parents[1] / "scores.npz").exists()


def fit(folder: Path, *arguments: str, machines: int = 1) -> ScoreTable:
    """Run `sta-tsn fit` on `machines`, which are processes here; return the score table."""
    command = [
        sys.executable,
        "-m",
        "sta_tsn",
        "fit",
        f"--run_dir={folder}",
        *arguments,
        f"--trainer.num_nodes={machines}",
    ]
    with socket.create_server(("127.0.0.1", 0)) as free:
        meeting = (
            {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
            if machines > 1
            else {}
        )
    started = [
        subprocess.Popen(
            command,
            env=os.environ | meeting | {"NODE_RANK": str(number)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for number in reversed(range(machines))
    ]
    for process in started:
        said = process.communicate()[0].decode()
        assert process.returncode == 0, said[-3000:]
    return ScoreTable.load(folder / "scores.npz")


@pytest.mark.parametrize(("devices", "machines"), [(2, 1), (1, 2)])
def test_two_processes_test_every_video_once(trained, tmp_path, devices, machines):
    """DDP from videos: 5 test videos on 2 processes; padding would make them 6.

    Two machines take the same folder.
    """
    experiments, runs, _ = trained
    configs = [
        f"--config={experiments}/{name}.yaml"
        for name in ("models/sta_tsn/sa_cnn_tsn", "datasets/mini/backbone")
    ]
    options = [
        f"--data.manifest={tmp_path / 'manifest.csv'}",
        f"--trainer.devices={devices}",
        "--trainer.max_epochs=1",
    ]
    options += ["--model.trained_batch_norms=first", "--model.input_px=96"]
    table = fit(tmp_path / "run", *configs, *options, machines=machines)
    assert table.ids == tables(runs)[2].ids
    assert len(table.ids) == 5
    assert len(list((tmp_path / "run" / "features").glob("*/*.safetensors"))) == 20


def test_a_machine_that_waits_for_nobody_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("sta_tsn.runs.folder.SECONDS_TO_CLAIM", 0)
    with pytest.raises(UserError, match="NODE_RANK=0"):
        RunFolder(tmp_path / "run").wait_for(lambda: "stamp")


def test_a_file_system_without_locks_is_named_and_used(tmp_path, monkeypatch, capsys):
    def refuse(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refuse)
    with only_one(tmp_path / "run"):
        assert "No locks in" in capsys.readouterr().out


def test_two_processes_train_the_same_network(trained, tmp_path):
    """DDP on features: the same videos in every step, so the same scores.

    There is no dropout, whose draws differ.
    """
    experiments, runs, _ = trained
    backbone = RunFolder(runs / "mini" / "split1" / STAGES[2])
    configs = [
        f"--config={experiments}/{name}.yaml"
        for name in ("models/sta_tsn/sta_tsn", "datasets/mini/temporal")
    ]
    inputs = [
        f"--data.features={backbone.features}",
        f"--model.backbone_checkpoint={backbone.tested_checkpoint}",
        "--model.dropout=0",
    ]
    one, two = (fit(tmp_path / str(n), *configs, *inputs, f"--trainer.devices={n}") for n in (1, 2))
    assert one.ids == two.ids
    assert not torch.equal(one.scores, tables(runs)[2].scores)
    torch.testing.assert_close(one.scores, two.scores, rtol=1e-4, atol=1e-4)


def test_run_json_names_versions(trained):
    about = json.loads((trained[1] / "mini" / "split1" / STAGES[0] / "run.json").read_text())
    assert {"torch", "timm", "pytorch-lightning", "commit", "arguments", "fingerprint"} <= set(
        about
    )


def test_the_regularisation_of_stage_two_is_in_its_result(trained):
    """l_MSE (Eq 12) at the end of training, and the share of frames that it can act on."""
    _, runs, _ = trained
    folder = RunFolder(runs / "mini" / "split1" / "sta_tsn/rgb/seed0/temporal")
    protocol = ScoreTable.load(folder.scores).protocol
    judged = read_judgement(FeatureStore(folder.features_read))
    assert protocol["share_judged_false"] == pytest.approx((~judged).float().mean().item())
    with open(folder.metrics, newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["train/loss_mse"]]
    last = [float(row["train/loss_mse"]) for row in rows if row["epoch"] == rows[-1]["epoch"]]
    assert protocol["l_mse"] == pytest.approx(sum(last) / len(last))
    # Beta is at least 1/T somewhere, so the term is there wherever a frame is judged false.
    assert (protocol["l_mse"] > 0) == (protocol["share_judged_false"] > 0)
