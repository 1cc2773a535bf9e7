"""The cheapest seconds of `make test-faults`, in every run of the tests."""

import pytest
from bad_files import compare_ways, damaged_files, whole_clips
from hostile_input import try_hostile_input
from tally import Tally


def test_damaged_videos_are_the_same_in_every_way_of_reading(tmp_path):
    clips = whole_clips(tmp_path / "whole", None, number=2, seed=0)
    files = damaged_files(tmp_path / "damaged", clips, number=27, seed=0)
    assert len(set(files.values())) == 9
    num_read = 0
    for path, kind in files.items():
        num_frames, different = compare_ways(str(path), seed=0)
        num_read += num_frames > 0
        assert not different, f"{kind}: {path.name}"
    assert num_read > 9


def test_what_a_stranger_made_leaves_no_mark(tmp_path):
    tallies = try_hostile_input(tmp_path, most=1)
    assert sum(tally.tried for tally in tallies) > 40
    for tally in tallies:
        assert tally.clean, tally


def test_a_tally_is_clean_only_where_something_was_tried():
    tally = Tally("family", "what")
    assert not tally.clean
    tally.tried = 1
    assert tally.clean
    tally.note("lost", "a case")
    assert not tally.clean
    with pytest.raises(AttributeError):
        tally.note("of no kind", "a case")
