"""Folders and tables as people have them."""

import os
import re
from pathlib import Path

import pytest

from sta_tsn.cli import main
from sta_tsn.datasets import Folder, build_manifest
from sta_tsn.errors import DatasetError


def everything(root: Path) -> dict:
    official = Folder(str(root)).records(1)
    videos = [*official.train, *(official.val or []), *official.test]
    return {record.id: record for record in videos}


@pytest.fixture
def videos(tmp_path) -> Path:
    """Two classes of four files each; what is in them plays no part here."""
    for name in ("jump", "run"):
        (tmp_path / name).mkdir()
        for number in range(4):
            (tmp_path / name / f"clip{number}.MP4").touch()
    return tmp_path


def write_table(root: Path, text: str) -> None:
    (root / "videos.csv").write_text(text)


@pytest.mark.parametrize("name", ["Thumbs.db", "desktop.ini", "clip0.srt", "notes.txt"])
def test_files_that_are_no_videos_are_named_and_left_alone(videos, capsys, name):
    (videos / "jump" / name).touch()
    assert len(everything(videos)) == 8
    assert f"jump/{name}" in capsys.readouterr().out


def test_other_files_are_named_once(videos, capsys):
    (videos / "jump" / "notes.txt").touch()
    folder = Folder(str(videos))
    folder.records(1)
    folder.records(2)
    assert capsys.readouterr().out.count("notes.txt") == 1


@pytest.mark.parametrize("name", ["__MACOSX", "@eaDir", ".git"])
def test_what_systems_leave_behind_is_no_class(videos, name):
    (videos / name).mkdir()
    assert Folder(str(videos)).classes == ["jump", "run"]


def test_a_folder_of_numbered_pictures_is_a_video(videos):
    pictures = videos / "jump" / "clip9"
    pictures.mkdir()
    (pictures / "00001.jpg").touch()
    assert "jump/clip9" in everything(videos)


def test_a_loop_of_links_does_not_end_the_listing(videos):
    loop = videos / "jump" / "loop.mp4"
    loop.symlink_to(loop)
    assert "jump/loop.mp4" in everything(videos)


@pytest.mark.parametrize("name", [b"caf\xe9.avi", b"Spr\xfcnge"])
def test_a_name_that_is_not_utf_8_is_told_before_anything_is_counted(videos, tmp_path, name):
    """Latin-1 names of old archives: lists, tables and pages could not hold them."""
    odd = videos / os.fsdecode(name)
    if name.endswith(b".avi"):
        (videos / "jump" / odd.name).touch()
    else:
        odd.mkdir()
        (odd / "clip.avi").touch()
    told = name.decode("utf-8", "backslashreplace")
    manifest = tmp_path / "manifest.csv"
    with pytest.raises(DatasetError, match=re.escape(told) + ".*not UTF-8"):
        build_manifest(list(everything(videos).values()), manifest)
    assert not manifest.exists()


def test_clips_of_one_source_by_their_times_are_one_group(videos):
    for start in (10, 20):
        (videos / "jump" / f"abc_{start:06d}_{start + 10:06d}.mp4").touch()
    found = everything(videos)
    groups = {record.group for name, record in found.items() if "abc" in name}
    assert groups == {"jump/abc"}


@pytest.mark.parametrize(
    "header, line",
    [
        ("path;labels", "jump/clip0.MP4;{}"),
        ("path\tlabels", "jump/clip0.MP4\t{}"),
        ("path, label", "jump/clip0.MP4, {}"),
        ("Path,Label", "jump/clip0.MP4,{}"),
        ("path,labels", "jump\\clip0.MP4,{}"),
    ],
)
def test_tables_of_many_forms_are_read(videos, header, line):
    others = [
        line.replace("clip0", f"clip{number}").format("ab"[number % 2]) for number in range(4)
    ]
    write_table(videos, "\n".join([header, *others]) + "\n")
    assert set(everything(videos)) == {f"jump/clip{number}.MP4" for number in range(4)}


def test_an_absolute_path_inside_the_folder_has_the_id_of_a_relative_one(videos):
    lines = [f"{videos}/jump/clip{number}.MP4,{'ab'[number % 2]}" for number in range(4)]
    write_table(videos, "path,labels\n" + "\n".join(lines) + "\n")
    assert "jump/clip0.MP4" in everything(videos)


def test_an_absolute_path_elsewhere_has_an_id_that_can_be_a_file_name(videos, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    lines = [f"{elsewhere}/{number}.mp4,{'ab'[number % 2]}" for number in range(4)]
    write_table(videos, "path,labels\n" + "\n".join(lines) + "\n")
    found = everything(videos)
    assert all(not name.startswith("/") for name in found)
    assert {record.path.parent for record in found.values()} == {elsewhere}


def test_a_path_of_windows_is_refused_with_the_remedy(videos):
    write_table(videos, "path,labels\nC:\\clips\\a.mp4,a\nD:/b.mp4,b\n")
    with pytest.raises(DatasetError, match="path of Windows; write it relative to"):
        everything(videos)


def test_a_colon_in_a_name_is_no_drive(videos):
    write_table(videos, "path,labels\n12:30.avi,a\n12:31.avi,b\n12:32.avi,a\n12:33.avi,b\n")
    assert "12:30.avi" in everything(videos)


def test_validation_is_another_word_for_val(videos):
    lines = [
        "jump/clip0.MP4,a,train",
        "jump/clip1.MP4,b,Validation",
        "jump/clip2.MP4,b,train",
        "jump/clip3.MP4,a,test",
    ]
    write_table(videos, "path,labels,split\n" + "\n".join(lines) + "\n")
    official = Folder(str(videos)).records(1)
    assert [record.id for record in official.val] == ["jump/clip1.MP4"]


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["evaluate", "~/absent.npz"]) == 1
    assert str(tmp_path / "absent.npz") in capsys.readouterr().err
