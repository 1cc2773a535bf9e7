"""Processes that read: room for what they hand over, and a name for what killed one."""

import os
import signal

import pytest
import torch
from torch.utils.data import DataLoader

from sta_tsn.datasets import UCF101, VideoRecord
from sta_tsn.errors import UserError
from sta_tsn.training.stage import dead_workers_named
from sta_tsn.video import ClipDataset, SegmentSampler, VideoDataModule, VideoReader, workers
from sta_tsn.video.clips import ViewStream
from sta_tsn.video.datamodule import SeededSampler


@pytest.fixture(scope="module")
def data(mini_ucf101, tmp_path_factory) -> VideoDataModule:
    manifest = tmp_path_factory.mktemp("workers") / "manifest.csv"
    data = VideoDataModule(UCF101(str(mini_ucf101)), str(manifest), batch_size=4)
    data.prepare_data()
    data.setup()
    return data


@pytest.mark.parametrize(
    ("free_mb", "expected"),
    [(64, 2), (30, 1), (10, 0), (None, 2)],
)
def test_workers_are_as_many_as_shared_memory_has_room_for(monkeypatch, free_mb, expected):
    """A ten-crop view of 30 frames is 4.5 MB: Docker's 64 MB have room for two workers' views."""
    free = None if free_mb is None else free_mb * 1_000_000
    monkeypatch.setattr(workers, "free_shared_memory", lambda: free)
    said = []
    view_bytes = 30 * 3 * 224 * 224
    assert workers.workers_with_room(2, view_bytes, 1, said.append) == expected
    assert len(said) == (expected < 2)
    if said:
        assert f"{expected} of num_workers=2" in said[0]


def test_a_small_shared_memory_is_told_once_and_read_without_workers(data, monkeypatch, capsys):
    monkeypatch.setattr(workers, "free_shared_memory", lambda: 1_000_000)
    batch = next(iter(data.train_dataloader()))
    data.val_dataloader()
    assert batch["clips"].shape == (4, 1, 3, 1, 3, 224, 224)
    assert capsys.readouterr().out.count("/dev/shm has 1 MB free and a batch 2:") == 1


def test_a_worker_that_is_killed_names_the_file_it_read(data, monkeypatch):
    """As when memory runs out, or a decoder crashes."""
    fatal = data.videos.train[3].path
    read = VideoReader.read

    def read_or_die(self, indices):
        if self.path == str(fatal):
            os.kill(os.getpid(), signal.SIGKILL)
        return read(self, indices)

    monkeypatch.setattr(VideoReader, "read", read_or_die)
    # torch notices it by the signal, or where it looks first by the queue that stays empty.
    said = rf"died while it read {fatal} \((killed by signal: Killed|killed or crashed)"
    with pytest.raises(UserError, match=said), dead_workers_named(data):
        list(data.train_dataloader())


def test_another_process_of_ddp_that_died_is_said(data, monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    with (
        pytest.raises(UserError, match="Another process of this training died"),
        dead_workers_named(data),
    ):
        raise RuntimeError("[gloo/transport/tcp/pair.cc:545] Connection reset by peer")


def test_other_errors_are_left_as_they_are(data):
    with pytest.raises(RuntimeError, match="shapes"), dead_workers_named(data):
        raise RuntimeError("shapes do not fit")


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("pair_distance", [0, 5])
def test_views_that_come_one_at_a_time_are_those_of_the_whole_item(
    index_video, num_workers, pair_distance
):
    records = [VideoRecord(name, index_video, (k,), name, 50) for k, name in enumerate("abc")]
    clips = ClipDataset(records, 3, SegmentSampler(3, 2), "ten", 32, pair_distance=pair_distance)
    order = SeededSampler(3, 0, None)
    stream = ViewStream(clips, order)
    found = {}
    for item in DataLoader(stream, batch_size=1, num_workers=num_workers):
        key = item["index"].item(), item["view"].item()
        assert key not in found
        assert item["clips"].nbytes == clips.view_bytes
        found[key] = item["clips"][0, 0]
    assert len(found) == len(stream) == 30
    for index, seed in order:
        whole = clips[index, seed]["clips"]
        views = torch.stack([found[index, view] for view in range(10)])
        assert torch.equal(views, whole)
