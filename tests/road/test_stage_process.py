"""Commands in processes forked from a server that has imported everything."""

import os
import signal
import threading
import time
from importlib.util import find_spec
from multiprocessing.popen_forkserver import Popen
from pathlib import Path

import pytest

from sta_tsn.pipeline.stage_process import IMPORTED_BY_SERVER, run_command


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


def _end_who_reads(pipe: Path, number: int) -> None:
    while not (reader := _reader_of(pipe)):
        time.sleep(0.05)
    os.kill(reader, number)


def _reader_of(pipe: Path) -> int | None:
    """Return the process that waits in `open`: it was forked from this one's server."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (
                b"forkserver" in (folder / "cmdline").read_bytes()
                and "wait_for_partner" in (folder / "wchan").read_text()
            ):
                return int(folder.name)
        except OSError:
            continue
    return None
