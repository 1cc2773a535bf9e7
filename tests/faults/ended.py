"""Commands of the suite that run at most so long, and how they ended."""

import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

from tests_support import all_output_to

from sta_tsn.cli import main

MARKED = "STA_TSN_FAULTS"  # environment variable by which the processes of a start are found


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        status: exit status; below 0 where a signal ended it; None where it was killed for its time.
        said: what it wrote to standard output and error.
    """

    status: int | None
    said: str

    @property
    def is_named(self) -> bool:
        """Return whether it succeeded, or ended with a sentence and no traceback."""
        if self.status is None or self.status < 0 or "Traceback (most" in self.said:
            return False
        return self.status == 0 or bool(self.said.strip())

    @property
    def last_line(self) -> str:
        lines = self.said.strip().splitlines() or ["nothing said"]
        return f"{self.status}: {lines[-1][:200]}"


def run_forked(arguments: list[str], limit_sec: float) -> Ended:
    """Run `sta-tsn` in a process forked from this one, which has imported everything."""
    return call_forked(lambda: main(arguments), limit_sec)


def call_forked(function: Callable[[], int | None], limit_sec: float) -> Ended:
    """Call a function in a forked process; its value is the exit status."""
    with TemporaryFile("w+") as output:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        process = multiprocessing.get_context("fork").Process(
            target=_exit_with, args=(function, output)
        )
        process.start()
        process.join(limit_sec)
        status = process.exitcode
        if status is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.join()
        output.seek(0)
        return Ended(status, output.read())


def _exit_with(function: Callable[[], int | None], output) -> None:
    os.setsid()
    with all_output_to(output):
        try:
            status = function()
        except Exception:
            traceback.print_exc()  # here, where it is counted
            status = 1
    sys.exit(status or 0)


def processes_with(mark: str) -> list[int]:
    """Return the processes whose environment at their start held `MARKED=mark`."""
    wanted = f"{MARKED}={mark}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            held = (folder / "environ").read_bytes().split(b"\0")
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:  # of somebody else, or gone
            continue
        if wanted in held and state != "Z":
            found.append(int(folder.name))
    return found


def still_there(mark: str, within_sec: float) -> list[int]:
    """Return the processes of a start that live on after `within_sec`, once they are killed."""
    latest = time.monotonic() + within_sec
    while (left := processes_with(mark)) and time.monotonic() < latest:
        time.sleep(0.2)
    for process in left:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    return left
