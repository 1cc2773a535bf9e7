"""Sweep files as W&B would run them, and the local runner with real processes, files and kills."""

import csv
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from sta_tsn.cli import main
from sta_tsn.errors import ConfigError, UserError
from sta_tsn.runs.folder import RunFolder
from sta_tsn.sweeps.proposals import Trial, propose
from sta_tsn.sweeps.search_space import read_parameter
from sta_tsn.sweeps.sweep import metric_values, sweep
from sta_tsn.sweeps.sweep_file import read_sweep
from sta_tsn.sweeps.sweep_report import axis_positions, parallel_coordinates, trials_table
from sta_tsn.sweeps.trial_process import trial_slots

ROOT = Path(__file__).parents[2]
SWEEPS = sorted((ROOT / "experiments" / "sweeps").glob("*.yaml"))

TRIAL = """
import os, sys, time
from pathlib import Path
options = dict(argument.removeprefix("--").split("=", 1) for argument in sys.argv[2:])
run, lr = Path(options["run_dir"]), float(options["model.lr"])
run.mkdir(parents=True, exist_ok=True)
with open("starts.txt", "a") as starts:
    print(run.name, file=starts)
with open("logged_at.txt", "a") as logged_at:
    print(os.environ.get("WANDB_PROJECT"), os.environ.get("WANDB_ENTITY"), file=logged_at)
if lr > 90:
    sys.exit("learning rate too high")
csv = run / "metrics.csv"
if not csv.exists():
    csv.write_text("step,train/loss,val/loss\\n")
for epoch in range(len(csv.read_text().splitlines()) - 1, 8):
    with open(csv, "a") as file:
        print(f"{epoch},,{lr + 1 / (epoch + 1)}", file=file, flush=True)
    time.sleep(0.25)
"""
COMMAND = [
    "${env}",
    "${interpreter}",
    "trial.py",
    "fit",
    f"--config={ROOT}/experiments/models/sta_tsn/sta_tsn.yaml",
    "--test=false",
    "${args}",
]
GRID = {
    "method": "grid",
    "metric": {"name": "val/loss"},
    "parameters": {"model.lr": {"values": [1, 2]}, "model.dropout": {"value": 0.5}},
    "command": COMMAND,
}


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A working folder whose trials count eight epochs instead of training."""
    monkeypatch.chdir(tmp_path)
    Path("trial.py").write_text(TRIAL)
    return tmp_path


def write(content: dict, name: str = "sweep.yaml") -> str:
    Path(name).write_text(yaml.safe_dump(content, sort_keys=False))
    return name


def table(folder: Path) -> list[dict]:
    with open(folder / "trials.csv", newline="") as file:
        return [
            {key: value for key, value in row.items() if key != "minutes"}
            for row in csv.DictReader(file)
        ]


def without(*keys: str) -> dict:
    return {key: value for key, value in GRID.items() if key not in keys}


@pytest.mark.parametrize(
    "content, complaint",
    [
        (without("command"), "`command` is missing"),
        (without("metric"), "`metric` is missing"),
        (without("parameters"), "`parameters` is missing"),
        ({**GRID, "methods": 1}, "'methods'. Did you mean method"),
        ({**GRID, "method": "gird"}, "Unknown method (in sweep.yaml) 'gird'. Did you mean grid"),
        ({**GRID, "method": "bayes"}, "needs `run_cap`"),
        ({**GRID, "run_cap": -3}, "run_cap=-3 is not a number of trials"),
        ({**GRID, "run_cap": "ten"}, "run_cap='ten' is not a number of trials"),
        (
            {
                **GRID,
                "method": "random",
                "run_cap": 2,
                "parameters": {"model.lr": {"min": math.nan, "max": 0.1}},
            },
            "min=nan is not finite",
        ),
        (
            {**GRID, "metric": {"name": "val/acuracy"}},
            "logs others) 'val/acuracy'. Did you mean val/accuracy",
        ),
        ({**GRID, "metric": {"name": "test/accuracy"}}, "Unknown metric"),
        ({**GRID, "metric": {"name": "val/loss", "goal": "min"}}, "'min'. Did you mean minimize"),
        (
            {**GRID, "metric": {"name": "val/loss", "target": "low"}},
            "metric.target='low' is not a number",
        ),
        (
            {**GRID, "parameters": {"model.hiden_dim": {"value": 3}}},
            "key (in sweep.yaml) 'model.hiden_dim'. Did you mean model.hidden_dim",
        ),
        (
            {**GRID, "parameters": {"model": {"parameters": {"lr": {"value": 3}}}}},
            "written flat, like model.lr",
        ),
        (
            {**GRID, "parameters": {"model.lr": {"min": 0.1, "max": 0.2}}},
            "a grid needs `values`, not distribution uniform",
        ),
        (
            {
                **GRID,
                "parameters": {"model.lr": {"values": [0.1, 0.2], "probabilities": [0.5, 0.5]}},
            },
            "not distribution categorical_w_probabilities",
        ),
        (
            {
                **GRID,
                "method": "bayes",
                "run_cap": 2,
                "parameters": {"data.batch_size": {"distribution": "uniform", "min": 1, "max": 5}},
            },
            "data.batch_size=1.0",
        ),
        ({**GRID, "parameters": {"model.lr": {"values": []}}}, "`values` is a list"),
        ({**GRID, "parameters": {"model.lr": {"values": [{"a": 1}]}}}, "`values` is a list"),
        (
            {**GRID, "parameters": {"model.lr": {"values": [0.1, "fast"]}}},
            "model.lr=fast does not fit: Expected a <class 'float'>",
        ),
        (
            {**GRID, "parameters": {"data.batch_size": {"value": 1.5}}},
            "data.batch_size=1.5 does not fit",
        ),
        ({**GRID, "parameters": {"run_dir": {"value": "x"}}}, "leave out run_dir"),
        ({**GRID, "command": COMMAND[:-1]}, "with ${args}"),
        (
            {**GRID, "command": [*COMMAND, "${args_json}"]},
            "Unknown macro (in the command of sweep.yaml) '${args_json}'",
        ),
        (
            {**GRID, "command": [*COMMAND, "--data.features=${envvar:ABSENT_VARIABLE}"]},
            "give it to make: ABSENT_VARIABLE=",
        ),
        (
            {**GRID, "command": [word for word in COMMAND if word != "--test=false"]},
            "add --test=false",
        ),
        (
            {**GRID, "command": [word for word in COMMAND if "--config" not in word]},
            "names model.class_path",
        ),
        ({**GRID, "early_terminate": {"type": "median"}}, "Unknown early_terminate.type"),
        (
            {**GRID, "early_terminate": {"type": "hyperband", "s": 2}},
            "either min_iter, or max_iter and s",
        ),
        (
            {**GRID, "early_terminate": {"type": "hyperband", "min_iter": 2, "etta": 2}},
            "Did you mean early_terminate.eta",
        ),
    ],
)
def test_wrong_files_are_refused(here, content, complaint):
    with pytest.raises(ConfigError, match=re.escape(complaint)):
        read_sweep(Path(write(content)))


def test_a_metric_of_validation_needs_some_in_the_run_that_made_the_features(here):
    command = [*COMMAND[:5], "--data.features=run/features", *COMMAND[5:]]
    settings = {**GRID, "parameters": {"model.lr": {"values": [1, 2]}}, "command": command}
    Path("run").mkdir()
    Path("run/config.yaml").write_text("data: {init_args: {val_share: 0.3}}")
    assert read_sweep(Path(write(settings))).metric == "val/loss"
    Path("run/config.yaml").write_text("data: {init_args: {val_share: 0}}")
    with pytest.raises(ConfigError, match="to that of the run that made them"):
        read_sweep(Path(write(settings)))


def test_a_metric_of_validation_needs_some(here):
    """SBU's recipe learns from everything."""
    configs = [
        f"--config={ROOT}/experiments/{file}"
        for file in ("models/sta_lstm/sta_lstm.yaml", "datasets/sbu/lstm.yaml")
    ]
    settings = {**GRID, "parameters": {"model.lr": {"values": [1, 2]}}}
    with pytest.raises(ConfigError, match=r"val/loss needs validation, and data\.val_share is 0"):
        read_sweep(Path(write({**settings, "command": [*COMMAND[:4], *configs, *COMMAND[5:]]})))
    assert (
        read_sweep(
            Path(
                write(
                    {
                        **settings,
                        "command": [*COMMAND[:4], *configs, "--data.val_share=0.2", *COMMAND[5:]],
                    }
                )
            )
        ).metric
        == "val/loss"
    )


@pytest.mark.parametrize(
    "settings, complaint",
    [
        (
            {"distribution": "log_unifrom_values", "min": 1, "max": 2},
            "Did you mean log_uniform_values",
        ),
        ({"distribution": "normal", "mu": 0, "sigma": 0}, "sigma=0 is not above 0"),
        ({"distribution": "normal", "min": 0, "max": 1}, "Unknown key"),
        (
            {"distribution": "log_uniform", "min": 0.0001, "max": 1000},
            "takes them as exponents of e",
        ),
        (
            {"distribution": "q_uniform", "min": 0.2, "max": 0.8},
            "no multiple of q=1 lies in the range",
        ),
        (
            {"values": [1, 2], "probabilities": [0.5, 0.6]},
            "must be 2 numbers, one for each of `values`, that sum to 1",
        ),
        ({"values": [1, 2], "probabilities": [1]}, "must be 2 numbers"),
        (
            {"distribution": "categorical_w_probabilities", "values": [1, 2]},
            "needs `probabilities`",
        ),
        ({"distribution": "uniform", "min": 1}, "needs `max`"),
        ({"min": "1e-4", "max": 1.0}, "YAML reads 1e-4 as text"),
        ({"min": 2, "max": 1}, "min must be below max"),
        ({"distribution": "log_uniform_values", "min": 0, "max": 1}, "both above 0"),
        ({"distribution": "int_uniform", "min": 0.5, "max": 2}, "not a whole number"),
        ({"distribution": "uniform", "min": 0.5, "max": 2, "q": 0.1}, "Unknown key"),
        (3, "give `value`, `values`"),
    ],
)
def test_wrong_distributions_are_refused(settings, complaint):
    with pytest.raises(ConfigError, match=re.escape(complaint)):
        read_parameter("model.lr", settings, "here")


def test_a_missing_file_and_wrong_devices_are_said_without_a_traceback(here, capsys):
    assert main(["sweep", "absent.yaml"]) == 1
    assert "No configuration file absent.yaml" in capsys.readouterr().err
    assert main(["sweep", write(GRID), "--devices", "two"]) == 1
    assert "devices=two" in capsys.readouterr().err


def test_bands(here):
    def bands(**settings) -> tuple:
        hyperband = {"type": "hyperband", **settings}
        return read_sweep(Path(write({**GRID, "early_terminate": hyperband}))).bands

    assert bands(min_iter=3)[:3] == (3, 9, 27)  # the examples of W&B's documentation
    assert bands(max_iter=27, s=2) == (3, 9)
    assert bands(max_iter=27, s=2, eta=2) == (6, 13)


def test_a_grid_of_steps_ends_below_max_as_at_wandb():
    steps = {"distribution": "q_uniform", "min": 1, "max": 9, "q": 2}
    assert read_parameter("x", steps, "").grid == (1, 3, 5, 7)
    steps = {"distribution": "q_uniform", "min": 0.1, "max": 0.35, "q": 0.1}
    assert read_parameter("x", steps, "").grid == (0.1, 0.2, 0.3)


def test_the_grid_has_every_combination_in_the_files_order():
    settings = {
        "model.lr": {"values": [0.2, 0.1]},
        "model.dropout": {"value": 0.5},
        "model.hidden_dim": {"min": 1, "max": 3},
    }
    parameters = tuple(read_parameter(name, one, "") for name, one in settings.items())
    trials = []
    for number in range(6):
        trials.append(Trial(number + 1, propose("grid", parameters, 1, trials)))
    expected = [(lr, 0.5, dim) for lr in (0.2, 0.1) for dim in (1, 2, 3)]
    assert [tuple(trial.parameters.values()) for trial in trials] == expected


SPACE = {
    "log": {"distribution": "log_uniform_values", "min": 1.0e-4, "max": 3.0e-3},
    "tenths": {"distribution": "q_uniform", "min": 0.25, "max": 0.8, "q": 0.1},
    "whole": {"min": 1, "max": 5},
    "real": {"min": 1.0, "max": 5},
    "choice": {"values": [[1, 2], "text", None, False]},
    "fixed": {"value": True},
    "often": {"values": ["a", "b", "c"], "probabilities": [0.7, 0.3, 0]},
    "normal": {"distribution": "q_normal", "mu": 3, "sigma": 2, "q": 0.5},
    "exponents": {"distribution": "log_uniform", "min": -3, "max": 2},
}


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_proposals_stay_within_bounds_and_come_again_after_a_kill(method):
    parameters = tuple(read_parameter(name, one, "") for name, one in SPACE.items())
    states = ("finished", "finished", "stopped", "failed", "running")
    trials = []
    for number in range(25):
        values = propose(method, parameters, 1, trials)
        assert values == propose(method, parameters, 1, [Trial(**vars(trial)) for trial in trials])
        assert 1e-4 <= values["log"] <= 3e-3
        assert values["tenths"] in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
        assert 1 <= values["real"] <= 5
        assert values["whole"] in range(1, 6)
        assert values["choice"] in SPACE["choice"]["values"]
        assert values["fixed"] is True
        assert values["often"] in ("a", "b")
        assert values["normal"] % 0.5 == 0
        assert math.exp(-3) <= values["exponents"] <= math.exp(2)
        loss = float("nan") if number == 7 else values["tenths"]
        trials.append(Trial(number + 1, values, states[number % 5], [loss]))
    assert len({trial.parameters["log"] for trial in trials}) == 25


E = math.e
QUARTILES = [  # of each distribution, by hand; a normal one's lie 0.6745 sigma beside mu
    ({"distribution": "uniform", "min": 1, "max": 5}, (2, 3, 4)),
    ({"distribution": "q_uniform", "min": 0, "max": 8, "q": 4}, (0, 4, 8)),
    ({"distribution": "log_uniform", "min": -4, "max": 4}, (E**-2, 1, E**2)),
    ({"distribution": "log_uniform_values", "min": 0.0001, "max": 1}, (0.001, 0.01, 0.1)),
    ({"distribution": "q_log_uniform", "min": 0, "max": 8, "q": 1}, (7, 55, 403)),
    ({"distribution": "q_log_uniform_values", "min": 1, "max": 10000, "q": 5}, (10, 100, 1000)),
    ({"distribution": "inv_log_uniform", "min": 0, "max": 8}, (E**-6, E**-4, E**-2)),
    ({"distribution": "inv_log_uniform_values", "min": 0.0001, "max": 1}, (0.001, 0.01, 0.1)),
    ({"distribution": "normal"}, (-0.6745, 0, 0.6745)),
    ({"distribution": "q_normal", "mu": 50, "sigma": 20, "q": 1}, (37, 50, 63)),
    ({"distribution": "log_normal", "mu": -2, "sigma": 2}, (E**-3.349, E**-2, E**-0.651)),
    ({"distribution": "q_log_normal", "mu": 5, "sigma": 1, "q": 1}, (76, 148, 291)),
    ({"distribution": "beta", "a": 2, "b": 1}, (0.5, 0.5**0.5, 0.75**0.5)),
    ({"distribution": "q_beta", "q": 0.25}, (0.25, 0.5, 0.75)),
]


def draws_of_a_first_trial(settings: dict, method: str) -> list:
    """Draw 600 values, of which bayes knows nothing yet."""
    parameters = tuple(read_parameter(f"x{n}", settings, "") for n in range(600))
    return list(propose(method, parameters, 1, []).values())


@pytest.mark.parametrize(
    "settings, quartiles",
    QUARTILES,
    ids=lambda value: value["distribution"] if isinstance(value, dict) else "",
)
@pytest.mark.parametrize("method", ["random", "bayes"])
def test_draws_are_distributed_as_the_file_says(settings, quartiles, method):
    """The share of draws below a quartile is within 3.5 standard errors."""
    drawn = draws_of_a_first_trial(settings, method)
    q = settings.get("q", 0)
    for share, quartile in zip((0.25, 0.5, 0.75), quartiles, strict=True):
        below = sum(value < quartile - 1e-9 for value in drawn) / 600
        until = sum(value <= quartile + 1e-9 for value in drawn) / 600
        assert below - 0.06 <= share <= until + 0.06
    assert all(value == pytest.approx(round(value / q) * q) for value in drawn if q)


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_values_come_as_often_as_their_probabilities_say(method):
    settings = {"values": ["a", [1, 2], None], "probabilities": [0.2, 0.7, 0.1]}
    drawn = draws_of_a_first_trial(settings, method)
    shares = [drawn.count(value) / 600 for value in settings["values"]]
    assert shares == pytest.approx(settings["probabilities"], abs=0.06)


@pytest.mark.parametrize(
    "settings", [settings for settings, _ in QUARTILES] + [SPACE["often"]], ids=str
)
def test_what_bayes_is_told_of_a_trial_is_what_was_drawn(settings):
    parameter = read_parameter("x", settings, "")
    for place in (0.01, 0.3, 0.5, 0.9):
        value = parameter.decode(place)
        again = parameter.decode(parameter.encode(value))
        assert again == (value if isinstance(value, str) else pytest.approx(value))


def test_bayes_learns_from_the_trials_so_far():
    parameter = (read_parameter("model.lr", {"min": 0.0, "max": 1.0}, ""),)
    late = {}
    for method in ("random", "bayes"):
        trials = []
        for number in range(40):
            values = propose(method, parameter, -1, trials)
            trials.append(Trial(number + 1, values, "finished", [-abs(values["model.lr"] - 0.3)]))
        late[method] = sum(abs(trial.parameters["model.lr"] - 0.3) for trial in trials[20:]) / 20
    assert late["bayes"] < late["random"] / 2


def start_sweep(file: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "sta_tsn", "sweep", file],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_killed_and_continued_gives_the_same_table(here):
    """The half-done trial of a killed runner lives on, and must not be joined by a second one."""
    search = {
        **GRID,
        "method": "bayes",
        "run_cap": 3,
        "parameters": {"model.lr": {"distribution": "log_uniform_values", "min": 1, "max": 9}},
    }
    sweep(write(search, "whole.yaml"), "auto", "runs")
    Path("starts.txt").unlink()
    whole, killed = Path("runs/sweeps/whole"), Path("runs/sweeps/killed")
    process = start_sweep(write(search, "killed.yaml"))
    while len(metric_values(killed / "trial-002" / "metrics.csv", "val/loss")) < 3:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    orphan = json.loads((killed / "sweep.json").read_text())["trials"][1]["pid"]
    os.kill(orphan, signal.SIGSTOP)  # so that it is half-done still when the runner is back
    sweep("killed.yaml", "auto", "runs")
    assert Path("starts.txt").read_text().split() == [
        "trial-001",
        "trial-002",
        "trial-002",
        "trial-003",
    ]
    with pytest.raises(ProcessLookupError):
        os.kill(orphan, 0)
    assert table(killed) == table(whole)
    assert len(table(whole)) == 3
    assert (killed / "parallel_coordinates.png").stat().st_size > 5000
    before = Path("starts.txt").read_text()
    sweep("killed.yaml", "auto", "runs")
    assert Path("starts.txt").read_text() == before
    sweep(write({**search, "run_cap": 4}, "killed.yaml"), "auto", "runs")
    assert Path("starts.txt").read_text().split()[4:] == ["trial-004"]


def test_hyperband_stops_the_bad_trials(here):
    settings = {**GRID, "early_terminate": {"type": "hyperband", "min_iter": 2, "eta": 2}}
    settings["parameters"] = {"model.lr": {"values": [3, 5, 1, 4]}}
    sweep(write(settings), "auto", "runs")
    rows = {row["model.lr"]: row for row in table(Path("runs/sweeps/sweep"))}
    assert {lr: row["state"] for lr, row in rows.items()} == {
        "1": "finished",
        "3": "finished",
        "4": "stopped",
        "5": "stopped",
    }
    assert (rows["5"]["validations"], rows["5"]["val/loss"]) == ("2", "5.5")
    assert rows["1"]["validations"] == "8"
    assert list(rows) == ["1", "3", "4", "5"]  # best first
    written = metric_values(Path("runs/sweeps/sweep/trial-002/metrics.csv"), "val/loss")
    assert 2 <= len(written) < 8  # its process was ended


def test_the_sweep_ends_where_a_trial_reaches_the_target(here, capsys):
    """The trial says so on the way (epoch 4 of 8), and ends by itself; so does the other one.

    A farther target lets the sweep go on.
    """
    metric = {"name": "val/loss", "target": 1.25}
    settings = {**GRID, "metric": metric, "parameters": {"model.lr": {"values": [3, 1, 4, 2]}}}
    settings |= {"project": "mine", "entity": "team"}
    sweep(write(settings), "2", "runs")
    rows = table(Path("runs/sweeps/sweep"))
    assert (rows[0]["model.lr"], rows[0]["state"], rows[0]["validations"]) == ("1", "finished", "8")
    assert len(rows) in (2, 3)  # 3: the first was done before
    assert {row["state"] for row in rows} == {"finished"}
    assert "Trial 2 reached the target, val/loss 1.25" in capsys.readouterr().out
    before = Path("starts.txt").read_text()
    sweep("sweep.yaml", "1", "runs")
    assert Path("starts.txt").read_text() == before
    sweep(write({**settings, "metric": {"name": "val/loss", "target": 0.5}}), "2", "runs")
    assert len(table(Path("runs/sweeps/sweep"))) == 4
    assert "reached" not in capsys.readouterr().out.splitlines()[-1]
    # W&B's agent starts its trials in the file's project; so does this one.
    assert set(Path("logged_at.txt").read_text().splitlines()) == {"mine team"}


def test_ctrl_c_ends_the_trial_too(here):
    process = start_sweep(write(GRID))
    folder = Path("runs/sweeps/sweep")
    while not (folder / "trial-001" / "metrics.csv").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    with pytest.raises(UserError, match="Another process works in"):
        sweep("sweep.yaml", "auto", "runs")
    process.terminate()
    said = process.communicate()[0]
    assert process.returncode == 130
    assert "The same command goes on" in said
    assert "Traceback" not in said
    with pytest.raises(ProcessLookupError):
        os.kill(json.loads((folder / "sweep.json").read_text())["trials"][0]["pid"], 0)


def test_failed_trials_are_named_and_tried_again_and_two_run_at_a_time(here):
    sweep_of = {**GRID, "parameters": {"model.lr": {"values": [99, 1]}}}
    with pytest.raises(UserError, match=r"(?s)Trial 1 failed.*learning rate too high"):
        sweep(write(sweep_of, "first.yaml"), "auto", "runs")
    sweep_of = {**GRID, "parameters": {"model.lr": {"values": [1, 99, 2]}}}
    with pytest.raises(UserError, match="Trials that failed: 2"):
        sweep(write(sweep_of), "2", "runs")
    assert [row["state"] for row in table(Path("runs/sweeps/sweep"))] == [
        "finished",
        "finished",
        "failed",
    ]
    with pytest.raises(UserError, match="Trials that failed: 2"):
        sweep("sweep.yaml", "2", "runs")
    assert sorted(Path("starts.txt").read_text().split()[1:]) == [
        "trial-001",
        "trial-002",
        "trial-002",
        "trial-003",
    ]


def test_a_changed_file_starts_anew_and_keeps_the_old_sweep(here, capsys):
    """The old one was killed, and its half-done trial would write into the new one's folder."""
    one = {**GRID, "parameters": {"model.lr": {"values": [1, 3]}}}
    process = start_sweep(write(one))
    while not metric_values(Path("runs/sweeps/sweep/trial-001/metrics.csv"), "val/loss"):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.kill()
    process.wait()
    orphan = json.loads(Path("runs/sweeps/sweep/sweep.json").read_text())["trials"][0]["pid"]
    os.kill(orphan, signal.SIGSTOP)
    sweep(write({**one, "parameters": {"model.lr": {"value": 2}}}), "auto", "runs")
    assert "changed. The earlier sweep is kept as" in capsys.readouterr().out
    (old,) = Path("runs/sweeps").glob("sweep.old-*")
    assert (old / "trial-001").exists()
    assert [row["model.lr"] for row in table(Path("runs/sweeps/sweep"))] == ["2"]
    with pytest.raises(ProcessLookupError):
        os.kill(orphan, 0)


@pytest.mark.parametrize(
    "visible, devices, per_trial, expected",
    [
        (None, "auto", None, ["0", "1", "2", "3"]),
        (None, "2", "1", ["0", "1"]),
        (None, "auto", "2", ["0,1", "2,3"]),
        ("5,GPU-abc,7,2", "3", None, ["5", "GPU-abc", "7"]),
    ],
)
def test_trials_share_the_gpus_out(here, monkeypatch, visible, devices, per_trial, expected):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    told = [f"--trainer.devices={per_trial}"] if per_trial else []
    settings = read_sweep(Path(write({**GRID, "command": [*COMMAND, *told]})))
    assert [slot["CUDA_VISIBLE_DEVICES"] for slot in trial_slots(settings, devices)] == expected
    with pytest.raises(ConfigError, match="4 GPUs are there"):
        trial_slots(settings, "5")


def test_a_line_that_is_being_written_does_not_count(tmp_path):
    (tmp_path / "metrics.csv").write_text("step,val/loss\n0,0.5\n1,\n2,0.2")
    assert metric_values(tmp_path / "metrics.csv", "val/loss") == [0.5]


def test_the_picture_has_a_line_for_every_trial_and_an_axis_for_every_kind_of_value(tmp_path):
    choices = [True, False, None, "text", [1, 2]]
    trials = [
        {
            "number": n,
            "parameters": {"model.lr": 10.0**-n, "choice": choices[n - 1], "x": n},
            "state": "finished",
            "values": [n],
            "seconds": 60,
        }
        for n in range(1, 6)
    ]
    trials.append({**trials[0], "number": 6, "state": "failed", "values": [float("nan")]})
    found = trials_table(trials, "val/accuracy", -1)
    assert list(found.index) == [5, 4, 3, 2, 1, 6]
    assert found.minutes[1] == 1
    assert axis_positions(found["model.lr"][:5], True)[0].tolist() == pytest.approx(
        [0, 0.25, 0.5, 0.75, 1]
    )
    assert axis_positions(found["choice"][:5], False)[2] == [
        "[1, 2]",
        "text",
        "None",
        "False",
        "True",
    ]
    found["zero"] = found["x"] - 1  # a rounded parameter of a log distribution
    parallel_coordinates(
        found[:5],
        ["model.lr", "choice", "zero"],
        "val/accuracy",
        -1,
        ["model.lr", "zero"],
        tmp_path / "picture.png",
    )
    assert (tmp_path / "picture.png").stat().st_size > 5000


def as_agent(file: Path, run_id: str, *options: str) -> subprocess.CompletedProcess:
    """Start the file's command as wandb's agent does, with wandb's own expansion of it.

    Every parameter has its first value.
    """
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    content = yaml.safe_load(file.read_text())
    arguments = {}
    for name, one in content["parameters"].items():
        first = one.get("values", [one.get("min")])[0]
        arguments[name] = {"value": one.get("value", first)}
    macros = create_sweep_command_args({"args": arguments})
    macros["env"] = ["/usr/bin/env"]
    macros["interpreter"] = [sys.executable]
    macros["program"] = [content["program"]]
    command = []
    for word in map(str, create_sweep_command(content["command"])):
        command.extend(macros[word[2:-1]] if word.startswith("${") else [word])
    environment = {
        **os.environ,
        "WANDB_SWEEP_ID": "sweep1",
        "WANDB_RUN_ID": run_id,
        "WANDB_MODE": "offline",
    }
    return subprocess.run([*command, *options], capture_output=True, text=True, env=environment)


# One step of all videos.
STAGE_ONE = ("--trainer.max_epochs=1", "--data.batch_size=16", "--data.num_workers=0")
STAGE_TWO = (*STAGE_ONE, "--data.iterations_per_epoch=1")


@pytest.fixture
def prepared(tmp_path, monkeypatch, request):
    """Make a working folder in which the sweep files find all that they name.

    That is experiments, miniature data, and the features of stage one.
    """
    monkeypatch.chdir(tmp_path)
    Path("experiments").symlink_to(ROOT / "experiments")
    demo = request.getfixturevalue("mini_ucf101")
    jhmdb = request.getfixturevalue("mini_jhmdb")
    (demo / "ground_truth.csv").touch()  # rendered already, as far as the dataset can see
    Path("data").mkdir()
    Path("data/demo").symlink_to(demo)
    for name, value in {"DATA": str(jhmdb), "BACKBONE": "test_resnet", "WEIGHTS": "none"}.items():
        monkeypatch.setenv(name, value)
    if "stage_two" in request.node.name:
        stage_one = [
            "fit",
            "--run_dir=runs/jhmdb/split1/sta_tsn/rgb/seed0/backbone",
            "--config=experiments/models/sta_tsn/sa_cnn_tsn.yaml",
            "--config=experiments/datasets/jhmdb/backbone.yaml",
            "--model.backbone=test_resnet",
            "--model.weights=none",
            "--data.test_frames_per_segment=2",
            "--data.train_crop=ten",
            f"--data.dataset.init_args.root={jhmdb}",
            "--data.manifest=manifest.csv",
            "--data.val_share=0.3",
            *STAGE_ONE,
        ]
        assert main(stage_one) == 0


@pytest.mark.parametrize("file", SWEEPS, ids=lambda file: file.stem)
def test_every_sweep_file_under_a_wandb_agent(prepared, file):
    assert file.read_text().startswith("# ")
    assert read_sweep(file).path == file
    options = STAGE_TWO if "stage_two" in file.stem else STAGE_ONE
    devices = ["--trainer.devices=2"] if file.stem == "demo_grid" else []
    done = as_agent(file, "run1", *options, *devices)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    run = RunFolder("runs/sweeps/sweep1/run1")  # one folder, on two processes too
    assert metric_values(run.metrics, read_sweep(file).metric)
    assert not run.scores.exists()
    assert {path.name for path in Path("runs/sweeps/sweep1").iterdir()} == {"run1", ".run1.lock"}
    assert len(list(run.path.glob("wandb/offline-run-*-run1"))) == 1
    assert "done already" in as_agent(file, "run1", *options, *devices).stdout


def test_fit_by_hand_needs_a_folder(capsys, monkeypatch):
    monkeypatch.setenv("WANDB_RUN_ID", "mine")
    assert main(["fit", "--test=false"]) == 1
    assert "needs --run_dir=FOLDER" in capsys.readouterr().err
