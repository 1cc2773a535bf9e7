"""Makefile targets that do more than call `sta-tsn`."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def audit(tmp_path):
    """Return what runs `make audit` with a pip-audit that says and ends as told."""

    def run(said: str, status: int) -> subprocess.CompletedProcess:
        tool = tmp_path / "pip-audit"
        tool.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit {status}\n")
        tool.chmod(0o755)
        (tmp_path / ".installed").touch()
        command = ["make", "--no-print-directory", "audit", f"BIN={tmp_path}"]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    return run


@pytest.mark.parametrize(
    "trace",
    ["requests.exceptions.ConnectionError: Failed to resolve", "ReadTimeout: Read timed out."],
)
def test_an_audit_without_network_is_one_sentence_and_no_success(audit, trace):
    done = audit(trace, 1)
    assert done.stderr.startswith("Not audited: OSV")
    assert "requests" not in done.stderr
    assert done.returncode != 0


def test_an_audit_that_finds_a_hole_fails_and_shows_it(audit):
    done = audit("Found 1 known vulnerability in 1 package", 1)
    assert "Found 1 known vulnerability" in done.stderr
    assert done.returncode != 0


def test_an_audit_that_finds_nothing_succeeds(audit):
    done = audit("No known vulnerabilities found", 0)
    assert "No known vulnerabilities found" in done.stderr
    assert done.returncode == 0
