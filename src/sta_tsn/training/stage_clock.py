"""How long each step of a stage takes, over all the processes that it took."""

import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sta_tsn.runs.folder import RunFolder

WRITTEN_EVERY_SEC = 10.0  # so much of a killed process's time is lost at most


@contextmanager
def timed(folder: RunFolder, step: str, is_global_zero: bool) -> Iterator[None]:
    """Add the block's time to run.json, while it runs and at its end.

    Args:
        folder: of the run.
        step: name of what takes the time.
        is_global_zero: one of the processes that share the work counts.
    """
    if not is_global_zero:
        yield
        return
    ended = threading.Event()
    counted = time.monotonic()

    def count() -> None:
        nonlocal counted
        now = time.monotonic()
        kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        folder.add_seconds(step, now - counted, kilobytes / 2**20)
        counted = now

    def keep_counting() -> None:
        while not ended.wait(WRITTEN_EVERY_SEC):
            count()

    thread = threading.Thread(target=keep_counting, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        count()
