"""How long each step of a stage takes, over all the processes that it took."""

import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sta_tsn.runs.folder import RunFolder

WRITTEN_EVERY_S = 10.0  # so much of a killed process's time is lost at most


@contextmanager
def timed(folder: RunFolder, step: str, is_global_zero: bool) -> Iterator[None]:
    """Add the block's time to run.json, while it runs and at its end; on one process of those that share the work."""
    if not is_global_zero:
        yield
        return
    ended, counted = threading.Event(), time.monotonic()

    def count() -> None:
        nonlocal counted
        now, kilobytes = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        folder.add_seconds(step, now - counted, kilobytes / 2**20)
        counted = now

    def keep_counting() -> None:
        while not ended.wait(WRITTEN_EVERY_S):
            count()

    thread = threading.Thread(target=keep_counting, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        count()
