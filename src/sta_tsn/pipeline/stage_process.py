"""A command of `sta-tsn` in a process of its own that need not import everything anew.

Importing torch, Lightning, timm, W&B and what they bring takes ten seconds of CPU. One server
process imports them once; the process of each command is forked from it. The server runs nothing
itself: it has no threads and no GPU in use, so forking it is safe.
"""

import atexit
import multiprocessing
import os
import runpy
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

from sta_tsn.errors import UserError

HELD = [signal.SIGINT, signal.SIGTERM]  # while a process is being started
IMPORTED_BY_SERVER = ["sta_tsn.training.stage", "torch._dynamo", "wandb.sdk.launch", "pandas"]


def run_command(arguments: list[str]) -> int:
    """Run `sta-tsn` with `arguments` and wait until it has ended.

    The process has this one's environment, folder, standard output and error. Ctrl-C reaches it as
    it reaches this process, SIGTERM is passed on; both wait until it has ended cleanly.

    Returns:
        The exit status; below 0 where a signal killed the process.

    Raises:
        KeyboardInterrupt: on Ctrl-C and SIGTERM, once the process has ended.
        UserError: the server was killed before the process was there.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED_BY_SERVER)
    outputs = [Connection(os.dup(stream), readable=False) for stream in (1, 2)]
    process = context.Process(target=_run, args=(arguments, dict(os.environ), outputs))
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    try:
        with _interrupts_held():
            process.start()
    except KeyboardInterrupt:  # it came before the process was there to get it, too
        if process.pid is not None:
            process.terminate()
            process.join()
        raise
    except EOFError as error:
        raise UserError(
            "The process that stages are forked from was killed. The same command goes on where "
            "it stopped."
        ) from error
    finally:
        for output in outputs:
            output.close()

    def pass_on(number: int, frame) -> None:
        process.terminate()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, pass_on)
    try:
        process.join()
    except KeyboardInterrupt:
        process.join()
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
    return process.exitcode


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back, also from a server that starts meanwhile and still imports.

    The mask is what the server inherits. It holds for this thread alone, and a signal that another
    thread takes would interrupt this one all the same, so that handlers only note what came.

    Raises:
        KeyboardInterrupt: at the end, where one of the two came meanwhile.
    """
    came: list[int] = []
    before = {}
    for number in HELD:
        before[number] = signal.signal(number, lambda number, frame: came.append(number))
    signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
    server_ended = None
    try:
        yield
    except EOFError as error:
        server_ended = error
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:  # to all processes, where the server has ended, too
        raise KeyboardInterrupt from server_ended
    if server_ended:
        raise server_ended


def _run(arguments: list[str], environment: dict[str, str], outputs: list[Connection]) -> None:
    """Be the process of `sta-tsn arguments`, as if it had been started by hand."""
    threading.Thread(target=_end_with_caller, daemon=True).start()
    for stream, output in enumerate(outputs, 1):
        os.dup2(output.fileno(), stream)
        output.close()
    os.environ.clear()
    os.environ.update(environment)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)
    forget_start_method()
    sys.argv = ["sta-tsn", *arguments]
    try:
        # Lightning starts the other ranks of a stage with the command that it finds in __main__.
        runpy.run_module("sta_tsn", run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()  # multiprocessing leaves them out; W&B sends the rest there


def _end_with_caller() -> None:
    """Kill this process when the one that called `run_command` is gone, whatever killed it.

    The server cannot be waited for: it lives as long as one of its processes does.
    """
    multiprocessing.parent_process().join()
    os.kill(os.getpid(), signal.SIGKILL)


def forget_start_method() -> None:
    """Let this process start its own as Python does by default, not as it was started itself.

    A process of a fork server would start one more server for its data loaders, whose workers
    import everything anew.
    """
    multiprocessing.set_start_method(None, force=True)
