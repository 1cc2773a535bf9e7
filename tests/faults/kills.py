"""A whole road killed again and again at random moments: it ends with the same numbers."""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
from ended import MARKED, Ended, processes_with, still_there
from tally import Tally
from tests_support import features_command, write_mini_experiments

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
SECONDS_TO_VANISH = 30
MOST_SECONDS = 1200  # of one command
TIMES = ("time", "seconds", "minutes", "memory", "step/", "date", "clips_per_sec")
# What a run holds beside results: times, memory, names drawn anew.
OF_THE_MOMENT = {"wandb_id", "seconds", "peak_memory_gb", "arguments"}


@dataclass(frozen=True)
class Road:
    """Commands that make everything a study has, in one folder.

    Attributes:
        folder: that holds experiments and runs.
        commands: arguments of `sta-tsn`, in order.
    """

    folder: Path
    commands: list[list[str]]

    @property
    def runs(self) -> Path:
        return self.folder / "runs"


def tiny_road(folder: Path, videos: Path, long: bool) -> Road:
    """Return a road over miniature videos: train with report, and more.

    Args:
        folder: to work in.
        videos: in UCF101's layout.
        long: all rows of STA-TSN's table, then features of a frozen network, flow, and a sweep of
            two trials. Else the one row of TSN's.
    """
    folder.mkdir(parents=True)
    experiments = write_mini_experiments(folder, videos)
    for stage, epochs in (("backbone", 3), ("temporal", 2)):
        recipe = experiments / "datasets/mini" / f"{stage}.yaml"
        changed = recipe.read_text().replace("max_epochs: 8", f"max_epochs: {epochs}")
        recipe.write_text(changed.replace("max_epochs: 4", f"max_epochs: {epochs}"))
    runs = folder / "runs"
    place = ["--dataset=mini", f"--experiments={experiments}", f"--runs={runs}"]
    train = ["train", *place, "--devices=1"]
    if not long:
        return Road(folder, [[*train, "--model=tsn"]])
    sweep = ["sweep", str(_sweep(folder, experiments)), f"--runs={runs}"]
    flow = ["flow", *place, "--devices=1"]
    return Road(folder, [train, features_command(experiments, runs), flow, sweep])


def _sweep(folder: Path, experiments: Path) -> Path:
    run = folder / "runs/mini/split1/sta_tsn/rgb/seed0/backbone"
    words = [
        "${env}",
        "${interpreter}",
        "-m",
        "sta_tsn",
        "fit",
        f"--config={experiments}/models/sta_tsn/sta_tsn.yaml",
        f"--config={experiments}/datasets/mini/temporal.yaml",
        f"--data.features={run}/features",
        f"--model.backbone_checkpoint={run}/checkpoints/last.ckpt",
        "--test=false",
        "${args}",
    ]
    content = {
        "method": "grid",
        "metric": {"name": "val/loss", "goal": "minimize"},
        "parameters": {"model.lr": {"values": [0.1, 0.05]}},
        "command": words,
    }
    path = folder / "sweep.yaml"
    path.write_text(json.dumps(content))  # which is YAML, too
    return path


def start(arguments: list[str], folder: Path, mark: str, output) -> subprocess.Popen:
    """Start `sta-tsn` in a session of its own; all that it starts is found by `mark`."""
    environment = {**os.environ, MARKED: mark, "WANDB_MODE": "disabled"}
    return subprocess.Popen(
        [sys.executable, "-m", "sta_tsn", *arguments],
        cwd=folder,
        env=environment,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=_takes_ctrl_c,
    )


def _takes_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it


def run_to_the_end(arguments: list[str], folder: Path, mark: str) -> Ended:
    """Run `sta-tsn`; it is killed where it takes longer than `MOST_SECONDS`."""
    with TemporaryFile("w+") as output:
        process = start(arguments, folder, mark, output)
        status = None
        with suppress(subprocess.TimeoutExpired):
            status = process.wait(MOST_SECONDS)
        if status is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        output.seek(0)
        return Ended(status, output.read())


def walk(road: Road) -> float:
    """Go the road without a fault; return the seconds."""
    begin = time.monotonic()
    for arguments in road.commands:
        ended = run_to_the_end(arguments, road.folder, "whole")
        assert ended.status == 0, ended.said[-3000:]
    return time.monotonic() - begin


def walk_killed(road: Road, num_kills: int, seconds: float, seed: int) -> Tally:
    """Go the road with kills at random moments, then each command once more to its end.

    SIGKILL goes to the first process alone in half of the cases, else to all as the system does
    when a job ends; the others go to the first process, as `kill` does, or to all, as Ctrl-C does.

    Args:
        road: that has not been walked.
        num_kills: in all.
        seconds: that the road takes without one.
        seed: of moments and signals.
    """
    tally = Tally("Kill anywhere", "SIGKILL, SIGTERM, SIGINT over manifest, training, flow, sweep")
    draw = random.Random(seed)
    # Half of the kills are for the first command, which is the longest.
    of_first = num_kills // 2 if len(road.commands) > 1 else num_kills
    of_each = [of_first]
    for _ in road.commands[1:]:
        of_each.append((num_kills - of_first) // (len(road.commands) - 1))
    for arguments, kills in zip(road.commands, of_each, strict=True):
        for _ in range(kills):
            moment = 0.8 * seconds * draw.random() ** 1.5
            number = draw.choice(SIGNALS)
            if not _killed(arguments, road, moment, number, draw.random() < 0.5, tally):
                break
        _end(arguments, road, tally)
    return tally


def _killed(arguments, road: Road, moment: float, number: int, alone: bool, tally: Tally) -> bool:
    """Start a command and end it at a moment; return False where it was done before."""
    mark = f"{road.folder.name}-{tally.tried}"
    name = f"{arguments[0]}, {signal.Signals(number).name} after {moment:.1f} s, "
    name += "the first process" if alone else "all"
    with TemporaryFile("w+") as output:
        process = start(arguments, road.folder, mark, output)
        with suppress(subprocess.TimeoutExpired):
            process.wait(moment)
            return False
        tally.tried += 1
        if alone:
            os.kill(process.pid, number)
        else:
            os.killpg(process.pid, number)
        try:
            process.wait(SECONDS_TO_VANISH + 30)
        except subprocess.TimeoutExpired:
            tally.note("hung", name)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if orphans := still_there(mark, SECONDS_TO_VANISH):
            tally.note("lost", f"{name}: {len(orphans)} processes lived on")
        output.seek(0)
        said = output.read()
    if number != signal.SIGKILL and "Traceback (most" in said:
        tally.note("unnamed", f"{name}: {said.strip().splitlines()[-1][:200]}")
    print(f"  {name}: {process.returncode}", file=sys.stderr, flush=True)
    return True


def _end(arguments: list[str], road: Road, tally: Tally) -> None:
    ended = run_to_the_end(arguments, road.folder, "whole")
    if ended.status is None:
        tally.note("hung", f"{arguments[0]} after the kills")
    elif ended.status != 0:
        tally.note("lost", f"{arguments[0]} does not go on: {ended.last_line}")
    if processes_with("whole"):
        tally.note("lost", f"{arguments[0]}: processes outlive it")


def differences(whole: Path, killed: Path) -> list[str]:
    """Return in what two RUNS folders differ, times and names drawn anew aside."""
    found = []
    names = [set(_results(folder)) for folder in (whole, killed)]
    found += [f"{name} is missing" for name in sorted(names[0] - names[1])]
    found += [f"{name} is left over" for name in sorted(names[1] - names[0])]
    for name in sorted(names[0] & names[1]):
        parts = [_content(folder / name, folder) for folder in (whole, killed)]
        differing = sorted(
            one for one in parts[0] | parts[1] if parts[0].get(one) != parts[1].get(one)
        )
        if differing:
            found.append(f"{name} differs in {', '.join(differing[:5])}")
    return found


def _results(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix != ".lock":
            yield str(path.relative_to(folder))


def _content(path: Path, runs: Path) -> dict[str, object]:
    """Return what a file says by the name of its parts, without times, memory and its folder.

    Checkpoints hold times; pages and pictures are drawn from what is compared.
    """
    if path.suffix == ".npz":
        with np.load(path) as file:
            arrays = {name: file[name] for name in file if name != "sha256"}
        protocol = json.loads(str(arrays.pop("protocol")))
        parts = {name: (str(array.dtype), array.tobytes()) for name, array in arrays.items()}
        kept = {name: value for name, value in protocol.items() if name not in OF_THE_MOMENT}
        return parts | {f"protocol {name}": value for name, value in kept.items()}
    if path.suffix == ".csv":
        return _columns(path, runs)
    if path.suffix == ".safetensors":
        return {"bytes": path.read_bytes()}
    return {}


def _columns(path: Path, runs: Path) -> dict[str, object]:
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    columns = {}
    for name in rows[0] if rows else ():
        if not any(one in str(name) for one in TIMES):
            columns[f"column {name}"] = [
                (row[name] or "").replace(str(runs.parent), "") for row in rows
            ]
    return columns


def try_kills(
    folder: Path, videos: Path, long: bool, series: int, kills_of_one: int, seed: int
) -> list[Tally]:
    """Walk the road whole once and killed in several series; compare all results.

    Args:
        folder: to work in.
        videos: in UCF101's layout.
        long: see `tiny_road`.
        series: of kills.
        kills_of_one: kills in each.
        seed: of the first series.
    """
    whole = tiny_road(folder / "whole", videos, long)
    seconds = walk(whole)
    total = Tally("Kill anywhere", "")
    for number in range(series):
        road = tiny_road(folder / f"killed{number}", videos, long)
        tally = walk_killed(road, kills_of_one, seconds, seed + number)
        for sentence in differences(whole.runs, road.runs):
            tally.note("lost", f"series {number}: {sentence}")
        total.what = tally.what
        for name in ("tried", "lost", "hung", "unnamed"):
            setattr(total, name, getattr(total, name) + getattr(tally, name))
        total.cases += tally.cases
        shutil.rmtree(road.folder)
    total.remark = f"{series} roads of {len(whole.commands)} commands, {seconds:.0f} s each"
    return [total]
