"""Two and three processes against one: the same gradients, each test video once, no orphans."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile

import torch
from ended import MARKED, Ended, processes_with, still_there
from tally import Tally
from tests_support import write_mini_experiments

from sta_tsn.evaluation import ScoreTable

PROGRAM = Path(__file__).with_name("gradients_of_fit.py")
SECONDS_TO_VANISH = 30
MOST_SECONDS = 600
TOLERANCE = 1e-6  # of the largest gradient; what is left is the order of summing


def fit_arguments(folder: Path, experiments: Path, devices: int, *more: str) -> list[str]:
    """Return the command of stage one from videos, with nothing that a share of a batch changes.

    No dropout, whose draws differ, and no batch statistics, which are those of a process's share.
    """
    return [
        "fit",
        f"--config={experiments}/models/sta_tsn/sa_cnn_tsn.yaml",
        f"--config={experiments}/datasets/mini/backbone.yaml",
        f"--run_dir={folder}",
        f"--data.manifest={folder.parent / 'manifest.csv'}",
        "--data.batch_size=6",
        "--model.trained_batch_norms=none",
        "--model.dropout=0",
        "--model.input_px=96",
        "--trainer.max_epochs=1",
        "--trainer.accelerator=cpu",
        f"--trainer.devices={devices}",
        *more,
    ]


def start(arguments: list[str], gradients: Path, mark: str, output) -> subprocess.Popen:
    environment = {**os.environ, MARKED: mark, "GRADIENTS": str(gradients), "OMP_NUM_THREADS": "1"}
    environment["WANDB_MODE"] = "disabled"
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), *arguments],
        env=environment,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def run(arguments: list[str], gradients: Path, mark: str) -> Ended:
    with TemporaryFile("w+") as output:
        process = start(arguments, gradients, mark, output)
        status = None
        with suppress(subprocess.TimeoutExpired):
            status = process.wait(MOST_SECONDS)
        if status is None:
            still_there(mark, 0)
            process.wait()
        output.seek(0)
        return Ended(status, output.read())


def try_distributed(folder: Path, videos: Path, worlds: tuple[int, ...]) -> list[Tally]:
    """Train the same step with one process and with several, then kill one of them.

    Args:
        folder: to work in.
        videos: in UCF101's layout, 5 of them for testing.
        worlds: numbers of processes.
    """
    experiments = write_mini_experiments(folder, videos)
    numbers = Tally("DDP", "gradients of two steps and scores, 1 process against several (gloo)")
    for world in (1, *worlds):
        arguments = fit_arguments(folder / f"run{world}", experiments, world)
        ended = run(arguments, folder / f"gradients{world}", f"ddp-{world}")
        if ended.status is None:
            numbers.note("hung", f"{world} processes")
        elif ended.status != 0:
            numbers.note("unnamed", f"{world} processes: {ended.last_line}")
    largest = 0.0
    for world in worlds:
        largest = max(largest, _compare(folder, world, numbers))
    numbers.remark = (
        f"processes: {worlds}; largest difference {largest:.1e} of the largest gradient"
    )
    deaths = Tally("DDP", "a process killed: all others end within 30 s, with a cause")
    for victim in ("another", "first", "first while they meet"):
        _kill_one(victim, folder, experiments, max(worlds), deaths)
    return [numbers, deaths]


def _compare(folder: Path, world: int, tally: Tally) -> float:
    """Count steps whose gradients differ, and test videos that are not scored once."""
    largest = 0.0
    for path in sorted((folder / "gradients1").glob("*.pt")):
        tally.tried += 1
        expected = torch.load(path, weights_only=True)
        other = folder / f"gradients{world}" / path.name
        if not other.exists():
            tally.note("lost", f"{world} processes: no gradients of {path.stem}")
            continue
        found = torch.load(other, weights_only=True)
        scale = max(gradient.abs().max().item() for gradient in expected.values())
        worst = max((found[name] - expected[name]).abs().max().item() for name in expected)
        largest = max(largest, worst / scale)
        if worst > TOLERANCE * scale:
            tally.note("lost", f"{world} processes: {path.stem} differs by {worst / scale:.1e}")
    tally.tried += 1
    one, several = (folder / f"run{number}" / "scores.npz" for number in (1, world))
    if not (one.exists() and several.exists()):
        tally.note("lost", f"{world} processes: no scores")
    elif ScoreTable.load(one).ids != ScoreTable.load(several).ids:
        tally.note("lost", f"{world} processes: other test videos")
    return largest


def _kill_one(victim: str, folder: Path, experiments: Path, world: int, tally: Tally) -> None:
    """Kill one process of several, and wait for the others to end."""
    tally.tried += 1
    mark = f"ddp-{victim.replace(' ', '-')}"
    gradients = folder / mark
    arguments = fit_arguments(folder / f"{mark}-run", experiments, world, "--trainer.max_epochs=90")
    with TemporaryFile("w+") as output:
        process = start(arguments, gradients, mark, output)
        latest = time.monotonic() + MOST_SECONDS
        while time.monotonic() < latest and process.poll() is None:
            members = processes_with(mark)
            meeting = victim.endswith("meet") and len(members) >= world
            if meeting or list(gradients.glob("*.pt")):
                break
            time.sleep(0.1)
        others = [one for one in processes_with(mark) if one != process.pid]
        target = others[-1] if victim == "another" and others else process.pid
        with suppress(ProcessLookupError):
            os.kill(target, signal.SIGKILL)
        if left := still_there(mark, SECONDS_TO_VANISH):
            tally.note("hung", f"the {victim} process killed: {len(left)} lived on")
        process.wait()
        output.seek(0)
        said = output.read()
    if victim == "another" and "Traceback (most" in said.split("Epoch")[-1]:
        tally.note("unnamed", f"{victim} killed: {said.strip().splitlines()[-1][:200]}")
