"""Times in run.json: also of a process that was killed, and added up over all that a stage took."""

import time

from sta_tsn.runs.folder import RunFolder
from sta_tsn.training import stage_clock


def test_time_is_written_while_it_passes_and_added_up(tmp_path, monkeypatch):
    monkeypatch.setattr(stage_clock, "WRITTEN_EVERY_SEC", 0.05)
    folder = RunFolder(tmp_path)
    folder.claim("stamp", [])
    with stage_clock.timed(folder, "fit", is_global_zero=True):
        # What a kill would leave: it is written while the block goes on.
        while not folder.about.get("seconds", {}).get("fit", 0) > 0:
            time.sleep(0.01)
        time.sleep(0.3)
    first = folder.about["seconds"]["fit"]
    assert first >= 0.29
    with stage_clock.timed(folder, "fit", is_global_zero=True):
        time.sleep(0.2)
    assert folder.about["seconds"]["fit"] >= first + 0.19
    with stage_clock.timed(folder, "test", is_global_zero=False):
        pass
    assert set(folder.about["seconds"]) == {"fit"}
