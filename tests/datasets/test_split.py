"""The one way from a dataset to the videos that a run uses."""

from dataclasses import replace
from pathlib import Path

from sta_tsn.datasets import UCF101, open_split, read_manifest

SOURCES = Path(__file__).parents[2] / "src" / "sta_tsn"


def test_frames_are_counted_into_the_manifest_that_is_named(mini_ucf101, tmp_path):
    manifest = tmp_path / "manifest.csv"
    videos = open_split(UCF101(str(mini_ucf101)), 1, manifest)
    assert manifest.exists()
    assert all(record.num_frames > 0 for record in videos.test)


def test_a_manifest_that_was_read_gives_the_same_videos(mini_ucf101, tmp_path):
    dataset = UCF101(str(mini_ucf101))
    counted = open_split(dataset, 1, tmp_path / "manifest.csv")
    read = open_split(dataset, 1, read_manifest(tmp_path / "manifest.csv"))
    assert read.fingerprint == counted.fingerprint


def test_videos_of_one_frame_are_left_out_where_motion_is_wanted(mini_ucf101, tmp_path):
    dataset = UCF101(str(mini_ucf101))
    file = tmp_path / "manifest.csv"
    everything = open_split(dataset, 1, file)
    still = everything.test[0]
    rows = read_manifest(file)
    key = str(still.path.absolute())
    rows[key] = replace(rows[key], num_frames=1)
    said: list[str] = []
    moving = open_split(dataset, 1, rows, moving=True, say=said.append)
    assert still.id not in [record.id for record in moving.test]
    assert moving.num_test_missing == everything.num_test_missing + 1
    assert "a single frame has no optical flow" in "".join(said)


def test_nobody_opens_a_split_in_another_way():
    users = []
    for path in SOURCES.rglob("*.py"):
        if path.parent.name != "datasets" and "prepare_split" in path.read_text():
            users.append(path)
    assert not users
