"""Commands in processes forked from a server that has imported everything."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from importlib.util import find_spec
from multiprocessing.popen_forkserver import Popen
from pathlib import Path

import pytest

from sta_tsn.errors import UserError
from sta_tsn.pipeline.stage_process import (
    IMPORTED_BY_SERVER,
    forget_start_method,
    run_command,
)


def test_a_command_runs_in_the_callers_folder_with_its_output(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert run_command(["evaluate", "absent.npz"]) == 1
    assert "No score table absent.npz" in capfd.readouterr().err
    assert run_command(["--version"]) == 0
    assert capfd.readouterr().out.startswith("sta-tsn ")


def test_the_environment_is_the_callers_of_now(tmp_path, monkeypatch, capfd):
    """The server was started before the variable was set."""
    run_command(["--version"])
    monkeypatch.setenv("COLUMNS", "41")
    assert run_command(["evaluate", "--help"]) == 0
    assert max(len(line) for line in capfd.readouterr().out.splitlines()) <= 41


def test_what_the_server_imports_exists():
    """A name that does not would be passed over, and every stage would import it anew."""
    assert all(find_spec(name) for name in IMPORTED_BY_SERVER)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGKILL, -9), (signal.SIGTERM, 130)])
def test_a_command_that_is_ended_from_outside_is_told_by_its_status(tmp_path, number, status):
    """A pipe without a writer keeps the command waiting."""
    pipe = tmp_path / "scores.npz"
    os.mkfifo(pipe)
    threading.Thread(target=_end_who_reads, args=(pipe, number), daemon=True).start()
    assert run_command(["evaluate", str(pipe)]) == status


CALLER = """
from sta_tsn.pipeline import stage_process
if __name__ == "__main__":
    stage_process.IMPORTED_BY_SERVER.clear()
    stage_process.run_command(["evaluate", {pipe!r}])
"""


def test_a_command_ends_with_a_killed_caller(tmp_path):
    """Else a stage would go on for hours that nobody waits for."""
    pipe = tmp_path / "scores.npz"
    os.mkfifo(pipe)
    caller = subprocess.Popen([sys.executable, "-c", CALLER.format(pipe=str(pipe))])
    while not (commands := [one for one in _children_of_server_of(caller.pid) if _reads(one)]):
        assert caller.poll() is None
        time.sleep(0.05)
    caller.kill()
    caller.wait()
    while _is_alive(commands[0]):
        time.sleep(0.05)


def test_sigterm_while_a_process_is_being_started_ends_like_any_other(monkeypatch):
    launch = Popen._launch

    def launch_signalled(self, process):
        os.kill(os.getpid(), signal.SIGTERM)
        launch(self, process)

    monkeypatch.setattr(Popen, "_launch", launch_signalled)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_command(["--version"])
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(("signalled", "said"), [(True, KeyboardInterrupt), (False, UserError)])
def test_a_server_that_is_killed_while_it_forks_ends_without_a_traceback(
    monkeypatch, signalled, said
):
    """SIGTERM to all processes ends the server, too; then nothing comes back from it."""

    def nothing_comes(descriptor):
        if signalled:
            os.kill(os.getpid(), signal.SIGTERM)
        raise EOFError("unexpected EOF")

    monkeypatch.setattr("multiprocessing.forkserver.read_signed", nothing_comes)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with pytest.raises(said):
            run_command(["--version"])
    finally:
        signal.signal(signal.SIGTERM, before)


def _end_who_reads(pipe: Path, number: int) -> None:
    while not (reader := _reader_of(pipe)):
        time.sleep(0.05)
    os.kill(reader, number)


def _reader_of(pipe: Path) -> int | None:
    """Return the process that waits in `open`: it was forked from this one's server."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            is_forked = b"forkserver" in (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if is_forked and _reads(int(folder.name)):
            return int(folder.name)
    return None


def _reads(process: int) -> bool:
    """Return whether a process waits for somebody to write into the pipe that it has opened."""
    try:
        return "wait_for_partner" in Path(f"/proc/{process}/wchan").read_text()
    except OSError:
        return False


def _children_of_server_of(caller: int) -> list[int]:
    """Return the processes that were forked from a caller's server."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "stat").read_text().rpartition(")")[2].split()
            is_server = b"forkserver" in (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if is_server:
            parents[int(folder.name)] = int(status[1])
    return [one for one, parent in parents.items() if parents.get(parent) == caller]


def _is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def start_method_within() -> None:
    forget_start_method()
    sys.exit(multiprocessing.get_all_start_methods().index(multiprocessing.get_start_method()))


def test_a_command_starts_its_own_processes_as_one_started_by_hand():
    """Its data loaders' workers would otherwise import everything anew."""
    process = multiprocessing.get_context("forkserver").Process(target=start_method_within)
    process.start()
    process.join()
    methods = multiprocessing.get_all_start_methods()
    assert methods[process.exitcode] == multiprocessing.get_context().get_start_method()
