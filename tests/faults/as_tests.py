"""Families that ordinary tests cover already: run them, and count them as cases."""

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from contextlib import suppress
from pathlib import Path

from tally import Tally

TESTS = Path(__file__).parents[1]
MOST_SECONDS = 1200
NUMBERS = [
    "training/test_divergence.py",
    "datasets/test_datasets.py::test_labels_out_of_range_are_found_before_training",
]
MACHINES = [
    "road/test_pipeline.py::test_two_processes_test_every_video_once",
    "road/test_pipeline.py::test_a_machine_that_waits_for_nobody_says_so",
    "road/test_pipeline.py::test_a_file_system_without_locks_is_named_and_used",
    "training/test_requeue.py",
    "video/test_slurm.py",
]


def try_tests(family: str, what: str, names: list[str], folder: Path) -> list[Tally]:
    """Run tests in a process of their own; one that fails is a case, by its name.

    Args:
        family: of faults.
        what: they try.
        names: of files and tests below tests/.
        folder: to work in.
    """
    tally = Tally(family, what, remark="ordinary tests: " + ", ".join(names))
    report = folder / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}"]
    command += ["-p", "no:cacheprovider", f"--basetemp={folder / 'tmp'}"]
    command += [str(TESTS / name) for name in names]
    process = subprocess.Popen(command, cwd=TESTS.parent, env=dict(os.environ))
    with suppress(subprocess.TimeoutExpired):
        process.wait(MOST_SECONDS)
    if process.poll() is None:
        process.kill()
        process.wait()
        tally.note("hung", f"over {MOST_SECONDS} s")
        return [tally]
    for case in ElementTree.parse(report).iter("testcase"):
        tally.tried += 1
        if case.find("failure") is not None or case.find("error") is not None:
            tally.note("lost", case.get("name", ""))
    return [tally]
