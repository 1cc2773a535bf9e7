"""Processes that end with the one that started them, whatever killed it."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # Linux: the signal that a process gets when its parent dies
STARTED_BY = "STA_TSN_STARTED_BY"  # environment variable: the first process of a stage


def end_with_parent(parent: int) -> None:
    """Let the system kill this process when its parent dies; on Linux, elsewhere do nothing.

    SIGKILL: a process that waits for its dead partners in a collective hears no other signal for
    minutes, and nothing is lost, for all files are written whole.

    Args:
        parent: process id of the parent. One that is gone already ends this process at once.
    """
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def end_with_first_process() -> None:
    """End the other processes of a stage with its first one, which starts them with its command.

    Those that torchrun or SLURM starts are theirs to end.
    """
    if os.environ.get("LOCAL_RANK", "0") == "0":
        os.environ[STARTED_BY] = str(os.getpid())
    elif STARTED_BY in os.environ:
        end_with_parent(int(os.environ[STARTED_BY]))
