"""Processes of a sweep's trials: on which GPUs, never twice, ended with all they started."""

import fcntl
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from sta_tsn.errors import ConfigError, UserError
from sta_tsn.sweeps.sweep_file import SweepFile, fit_arguments

SECONDS_TO_END = 30


def trial_slots(settings: SweepFile, devices: str) -> list[dict[str, str]]:
    """Return the environment of each trial that may run at one time.

    It names the trial's GPUs, as many as the command's --trainer.devices; of the CPU nothing.

    Args:
        settings: the sweep file.
        devices: `auto` (all GPUs, or one trial on the CPU) or a number.

    Raises:
        ConfigError: `devices` is no number, or there are fewer GPUs.
    """
    if devices != "auto" and not (devices.isdigit() and int(devices)):
        raise ConfigError(f"devices={devices}: give a number, or auto.")
    gpus = visible_gpus()
    if not gpus:
        return [{}] * (1 if devices == "auto" else int(devices))
    wanted = len(gpus) if devices == "auto" else int(devices)
    per_trial = _gpus_per_trial(settings)
    if not per_trial <= wanted <= len(gpus):
        raise ConfigError(
            f"devices={devices}: {len(gpus)} GPUs are there, and a trial of {settings.path} takes "
            f"{per_trial}."
        )
    slots = []
    for first in range(0, wanted - per_trial + 1, per_trial):
        own = gpus[first : first + per_trial]
        slots.append({"CUDA_VISIBLE_DEVICES": ",".join(own)})
    return slots


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use, named as CUDA_VISIBLE_DEVICES does."""
    import torch

    count = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if visible:
        return visible.split(",")[:count]
    return [str(index) for index in range(count)]


def _gpus_per_trial(settings: SweepFile) -> int:
    """Return the last `--trainer.devices` of the command; 1 where it names no number."""
    number = "1"
    for argument in fit_arguments(settings.command):
        name, _, value = argument.partition("=")
        if name == "--trainer.devices":
            number = value
    return int(number) if number.isdigit() else 1


@contextmanager
def trial_log(path: Path, pid: int | None) -> Iterator[BinaryIO]:
    """Open a trial's log, locked.

    Its process inherits the lock with the file: it is held as long as any process of the trial
    lives, whoever started it. A trial that outlived a killed sweep is ended here; it would write
    the same run folder.

    Args:
        path: of the log.
        pid: of the trial's process group, as the killed sweep noted it.

    Raises:
        UserError: such a trial lives, and its process group was not noted.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as log:
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if pid is None:
                raise UserError(
                    f"A process of a killed sweep still writes {path}. End it, then give the same "
                    "command."
                ) from error
            print(
                f"{path.stem} of the killed sweep still ran; it was stopped at its checkpoint.",
                flush=True,
            )
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            fcntl.flock(log, fcntl.LOCK_EX)
        yield log


def start(command: list[str], log: BinaryIO, environment: dict[str, str]) -> subprocess.Popen:
    """Start a trial in a session of its own.

    Ctrl-C reaches the sweep alone, which then ends its trials.
    """
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env={**os.environ, **environment},
        start_new_session=True,
    )


def end(process: subprocess.Popen) -> None:
    """End a trial and whatever it started.

    That is done kindly, so that its loggers finish; by force after a while.
    """
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(SECONDS_TO_END)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
