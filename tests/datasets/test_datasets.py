import dataclasses
import os
import re
import shutil
from collections import Counter
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
import yaml
from torch.nn import functional as F

from sta_tsn.datasets import (
    HMDB51,
    JHMDB,
    THUMOS14,
    UCF101,
    Demo,
    Folder,
    ManifestRow,
    VideoRecord,
    build_manifest,
    check_dataset,
    folder,
    hold_out_groups,
    manifest,
    prepare_split,
    read_manifest,
)
from sta_tsn.datasets import manifest as manifest_module
from sta_tsn.datasets.check import summary
from sta_tsn.datasets.demo import (
    ACTIONS,
    MARKER,
    NUM_GROUPS,
    SETTINGS,
    TEST_GROUPS,
    class_of_setting,
    render_clip,
    render_demo,
    render_still,
    write_video,
)
from sta_tsn.errors import ConfigError, DatasetError, VideoReadError
from sta_tsn.models.map_backbone import Backbone
from sta_tsn.video import VideoReader

DEMO_RECIPES = Path(__file__).parents[2] / "experiments" / "datasets" / "demo"


def everything(dataset, split=1):
    return dataset.records(split).videos


def test_official_splits_never_divide_a_source_video_of_ucf101(shared_data):
    for split in (1, 2, 3):
        official = UCF101(str(shared_data / "ucf101")).records(split)
        assert {r.group for r in official.train}.isdisjoint(r.group for r in official.test)


def test_three_layouts_of_the_same_clips(mini_ucf101, mini_jhmdb, mini_folder):
    for dataset in (UCF101(str(mini_ucf101)), JHMDB(str(mini_jhmdb)), Folder(str(mini_folder))):
        official = dataset.records(1)
        assert dataset.classes == ["Jump", "Run", "Sit"]
        assert len(official.train) + len(official.test) == 20
        assert len({r.id for r in official.train + official.test}) == 20
        assert all(
            r.path.exists() and r.id.startswith(dataset.classes[r.labels[0]])
            for r in official.train
        )


def test_groups_stay_on_one_side(mini_folder):
    official = Folder(str(mini_folder), test_share=0.3).records(2)
    assert official.test
    assert {r.group for r in official.train}.isdisjoint(r.group for r in official.test)
    assert {r.labels for r in official.test} == {(0,), (1,), (2,)}
    assert Folder(str(mini_folder), test_share=0.3).records(3) != official


def test_hold_out_leaves_every_class_a_group():
    records = [
        VideoRecord(f"{label}/{i}", None, (label,), f"{label}-{i // 4}")
        for label in range(5)
        for i in range(12)
    ]
    records += [VideoRecord(f"5/{i}", None, (5,), "only") for i in range(3)]
    kept, held = hold_out_groups(records, 0.25, seed=1)
    assert {r.group for r in kept}.isdisjoint(r.group for r in held)
    assert len(kept) + len(held) == 63
    assert {r.labels[0] for r in kept} == set(range(6))
    assert {r.labels[0] for r in held} == set(range(5))
    assert hold_out_groups(records, 0, seed=1) == (records, [])


def test_random_splits_do_not_prefer_small_groups():
    """Three draws of a quarter differ, and none is of the single clips alone.

    There are ten groups of three clips and two of one.
    """
    names = [name for name in "bcdefghijk" for _ in range(3)] + ["x", "y"]
    records = [
        VideoRecord(f"{label}/{i}", None, (label,), f"{label}/{name}")
        for label in (0, 1)
        for i, name in enumerate(names)
    ]
    draws = [
        {r.id for r in hold_out_groups(records, 0.25, seed, smallest_first=False)[1]}
        for seed in (1, 2, 3)
    ]
    assert len({frozenset(draw) for draw in draws}) == 3
    assert all(len(draw) >= 12 for draw in draws)
    large = [VideoRecord(str(i), None, (0,), "large" if i < 9 else "small") for i in range(10)]
    for seed in range(4):
        assert [r.group for r in hold_out_groups(large, 0.05, seed, smallest_first=False)[1]] == [
            "small"
        ]


@pytest.mark.parametrize("kind", [UCF101, HMDB51, JHMDB])
def test_validation_is_carved_by_group_on_real_lists(shared_data, kind):
    dataset = kind(str(shared_data / kind.__name__.lower()))
    counted = {
        str(r.path.absolute()): manifest.ManifestRow(str(r.path), 1, 1, 40)
        for r in dataset.listed()
    }
    for number in range(1, dataset.num_splits + 1):
        split = prepare_split(dataset, number, counted)
        num_train, num_test = dataset.published_splits[number - 1]
        assert len(split.train) + len(split.val) == num_train
        assert len(split.test) == num_test
        assert 0.06 * num_train <= len(split.val) <= 0.11 * num_train
        assert {r.group for r in split.train}.isdisjoint(r.group for r in split.val)
        assert {r.labels for r in split.train} == {
            (label,) for label in range(len(dataset.classes))
        }


def test_an_official_validation_list_is_used_as_it_is(mini_thumos14):
    dataset = THUMOS14(str(mini_thumos14))
    counted = {
        str(r.path.absolute()): manifest.ManifestRow(str(r.path), 1, 1, 40)
        for r in dataset.listed()
    }
    split = prepare_split(dataset, 1, counted)
    assert (len(split.train), len(split.val), len(split.test)) == (20, 3, 4)


def test_labels_out_of_range_are_found_before_training(mini_ucf101, monkeypatch):
    dataset = UCF101(str(mini_ucf101))
    monkeypatch.setattr(dataset, "classes", dataset.classes[:2])
    monkeypatch.setattr(
        "sta_tsn.datasets.ucf101.label_of", lambda name, *rest: ["Jump", "Run", "Sit"].index(name)
    )
    with pytest.raises(DatasetError, match=r"Sit/.* has labels \(2,\), classes are 0 to 1"):
        prepare_split(dataset, 1, {})


def test_check_data_compares_with_what_is_published(shared_data, tmp_path):
    hmdb51 = HMDB51(str(shared_data / "hmdb51"))
    report = check_dataset(hmdb51, build_manifest(hmdb51.listed(), tmp_path / "manifest.csv"))
    assert report["videos"] == {"listed": 6766, "published": 6766, "present": 5, "readable": 5}
    assert len(report["missing"]) == 6761
    assert not report["unreadable"]
    assert not report["duplicates"]
    assert report["classes"]["label_range"] == [0, 50]
    assert len(report["classes"]["without_readable_video"]) == 46
    text = summary(report)
    assert "6766 listed, as published; 5 present, 5 readable" in text
    assert "split 3: 3570/1530 train/test, as published" in text


def test_the_real_clips_of_jhmdb_and_ucf101_decode(shared_data, tmp_path):
    jhmdb, ucf101 = JHMDB(str(shared_data / "jhmdb")), UCF101(str(shared_data / "ucf101"))
    report = check_dataset(jhmdb, build_manifest(jhmdb.listed(), tmp_path / "jhmdb.csv"))
    assert report["videos"] == {"listed": 928, "published": 928, "present": 928, "readable": 928}
    report = check_dataset(ucf101, build_manifest(ucf101.listed(), tmp_path / "ucf101.csv"))
    assert report["videos"] == {"listed": 13320, "published": 13320, "present": 53, "readable": 53}


def test_hmdb51_of_jhmdbs_clips(shared_data, tmp_path):
    """JHMDB was cut from HMDB51: 906 of its 928 clips are in HMDB51's lists under their names."""
    listed = HMDB51(str(shared_data / "hmdb51"))
    shutil.copytree(
        shared_data / "hmdb51" / "testTrainMulti_7030_splits",
        tmp_path / "testTrainMulti_7030_splits",
    )
    for name in listed.classes:
        (tmp_path / "hmdb51_org" / name).mkdir(parents=True)
        for clip in (shared_data / "jhmdb" / "ReCompress_Videos" / name).glob("*.avi"):
            (tmp_path / "hmdb51_org" / name / clip.name).symlink_to(clip)
    hmdb51 = HMDB51(str(tmp_path))
    present = [record for record in hmdb51.listed() if record.path.exists()]
    assert len(present) == 906
    counted = {
        str(record.path.absolute()): ManifestRow(str(record.path), 1, 1, num_frames=30)
        for record in present
    }
    split = prepare_split(hmdb51, 1, counted, allow_missing=True, say=lambda text: None)
    assert len(split.test) == 256
    assert split.num_test_missing == 1530 - 256


def test_check_data_names_what_is_wrong(damaged, tmp_path):
    shutil.copy(damaged / "good" / "fine.avi", damaged / "bad" / "again.avi")
    dataset = Folder(str(damaged))
    report = check_dataset(dataset, build_manifest(dataset.listed(), tmp_path / "manifest.csv"))
    assert report["duplicates"] == [
        [str(damaged / "bad" / "again.avi"), str(damaged / "good" / "fine.avi")]
    ]
    assert {Path(path).name for path in report["unreadable"]} == {
        "empty.avi",
        "text.avi",
        "cut.avi",
    }
    assert report["frames"] == {"min": 14, "median": 14, "max": 14, "total": 28}
    assert report["resolutions"] == {"64x48": 2}
    text = summary(report)
    assert "empty.avi: the file is empty" in text
    assert "again.avi = " in text
    before = sorted((path, path.stat().st_mtime_ns) for path in damaged.rglob("*"))
    check_dataset(dataset, build_manifest(dataset.listed(), tmp_path / "manifest.csv"))
    assert sorted((path, path.stat().st_mtime_ns) for path in damaged.rglob("*")) == before


def test_videos_of_numbered_pictures(mini_something_v1, tmp_path):
    folder = tmp_path / "video"
    shutil.copytree(next((mini_something_v1 / "20bn-something-something-v1").iterdir()), folder)
    assert manifest.probe(str(folder)) == {"num_frames": 14, "width_px": 64, "height_px": 48}
    frames = VideoReader(folder).read([13, 0, 5])
    assert frames.shape == (3, 48, 64, 3)
    assert len(VideoReader(folder)) == 14
    assert (frames[1] == cv2.imread(str(folder / "00001.jpg"))[..., ::-1]).all()
    (folder / "00003.jpg").write_text("no picture")
    assert manifest.probe(str(folder))["reason"] == "00003.jpg is not a readable picture"
    with pytest.raises(VideoReadError, match=r"00003.jpg is not a readable picture"):
        VideoReader(folder).read([2])
    (folder / "00003.jpg").unlink()
    assert manifest.probe(str(folder))["reason"] == "picture 00003 is missing"
    for number in range(1, 14):  # as other tools number them
        if number != 3:
            (folder / f"{number:05d}.jpg").rename(folder / f"{number}.jpg")
    assert manifest.probe(str(folder))["reason"] == "picture 00003 is missing"
    shutil.copy(folder / "2.jpg", folder / "3.jpg")
    assert manifest.probe(str(folder))["num_frames"] == 14
    shutil.copy(folder / "2.jpg", folder / "002.jpg")
    assert manifest.probe(str(folder))["reason"] == "picture 00002 is there twice"
    assert "no numbered pictures" in manifest.probe(str(tmp_path))["reason"]
    (folder / "002.jpg").unlink()
    cv2.imwrite(str(folder / "5.jpg"), cv2.imread(str(folder / "5.jpg"))[:40])
    assert manifest.probe(str(folder))["reason"] == "5.jpg is 64x40, the pictures before it 64x48"


def test_wrong_folders_say_what_was_looked_for(tmp_path, mini_jhmdb):
    with pytest.raises(DatasetError, match=r"no folder .*absent(.|\n)*UCF-101/<Class>"):
        UCF101(str(tmp_path / "absent"))
    with pytest.raises(DatasetError, match=r"looked for .*classInd.txt(.|\n)*UCF-101/<Class>"):
        UCF101(str(mini_jhmdb))
    with pytest.raises(DatasetError, match="splits 1 to 3; split 4"):
        JHMDB(str(mini_jhmdb)).records(4)
    with pytest.raises(DatasetError, match="holds 0 classes"):
        Folder(str(tmp_path))


def test_missing_clips_need_permission(shared_data, tmp_path):
    ucf101 = UCF101(str(shared_data / "ucf101"))
    counted = build_manifest(everything(ucf101), tmp_path / "manifest.csv")
    assert len(counted) == 53
    with pytest.raises(
        DatasetError, match=r"lists 13320 videos, 13267 of them are not in(.|\n)*set allow_missing"
    ):
        prepare_split(ucf101, 1, counted)
    said = []
    split = prepare_split(ucf101, 1, counted, allow_missing=True, say=said.append)
    assert len(split.train) + len(split.val) == 24
    assert len(split.test) == 29
    assert split.num_test_missing == 3783 - 29
    assert "98 of 101 classes have no training clip" in said[-2]
    assert "classes have no test clip" in said[-1]


def test_classes_without_clips_are_said_before_training(mini_folder, tmp_path):
    root = tmp_path / "videos"
    shutil.copytree(mini_folder, root)
    for path in sorted((root / "Sit").iterdir())[1:]:
        path.unlink()
    counted = build_manifest(everything(Folder(str(root))), tmp_path / "manifest.csv")
    lonely = next((root / "Sit").iterdir())
    lonely.write_bytes(b"")
    counted = build_manifest(everything(Folder(str(root))), tmp_path / "manifest.csv")
    with pytest.raises(DatasetError, match="1 of 3 classes have no training clip: Sit"):
        prepare_split(Folder(str(root)), 1, counted)


def test_classes_that_are_not_tested_are_named(mini_folder, tmp_path):
    lines = [
        f"{path.relative_to(mini_folder)},{path.parent.name}"
        for path in sorted(mini_folder.glob("*/*"))
    ]
    sides = [
        "test" if line.endswith("Jump") and number % 2 else "train"
        for number, line in enumerate(lines)
    ]
    root = tmp_path / "videos"
    shutil.copytree(mini_folder, root)
    (root / "videos.csv").write_text(
        "path,labels,split\n" + "\n".join(map(",".join, zip(lines, sides, strict=True))) + "\n"
    )
    dataset, said = Folder(str(root)), []
    prepare_split(
        dataset, 1, build_manifest(everything(dataset), tmp_path / "manifest.csv"), say=said.append
    )
    assert re.search("2 of 3 classes have no test clip: [^J]*$", said[-1])
    (root / "videos.csv").write_text(
        "path,labels,split\n" + "\n".join(f"{line},train" for line in lines) + "\n"
    )
    dataset = Folder(str(root))
    assert "nothing to test" in summary(
        check_dataset(dataset, build_manifest(everything(dataset), tmp_path / "manifest.csv"))
    )


@pytest.fixture
def damaged(tmp_path, mini_folder):
    """One readable clip, three that are not, and a file that is no video by its name."""
    root = tmp_path / "videos"
    for name in ("good", "bad"):
        (root / name).mkdir(parents=True)
    clip = next((mini_folder / "Jump").iterdir())
    shutil.copy(clip, root / "good" / "fine.avi")
    (root / "bad" / "empty.avi").touch()
    (root / "bad" / "text.avi").write_text("not a video\n" * 100)
    (root / "bad" / "notes.txt").write_text("FFmpeg plays text files\n" * 100)
    (root / "bad" / "cut.avi").write_bytes(clip.read_bytes()[: clip.stat().st_size * 2 // 3])
    return root


def test_manifest_names_the_reason(damaged, tmp_path):
    path = tmp_path / "manifest.csv"
    notes = VideoRecord("bad/notes.txt", damaged / "bad" / "notes.txt", (0,), "notes")
    records = [*everything(Folder(str(damaged))), notes]  # as a list may name it
    rows = {row.path.rpartition("/")[2]: row for row in build_manifest(records, path).values()}
    assert rows["fine.avi"].num_frames == 14
    assert rows["fine.avi"].reason == ""
    assert (rows["fine.avi"].width_px, rows["fine.avi"].height_px, rows["fine.avi"].fps) == (
        64,
        48,
        25,
    )
    assert rows["empty.avi"].reason == "the file is empty"
    assert "not a readable video" in rows["text.avi"].reason
    assert "truncated" in rows["cut.avi"].reason or "not a readable video" in rows["cut.avi"].reason
    assert "not a" in rows["notes.txt"].reason
    assert {row.path: row for row in rows.values()} == read_manifest(path)


def test_manifest_looks_at_changed_files_only(damaged, tmp_path, monkeypatch):
    path, records = tmp_path / "manifest.csv", everything(Folder(str(damaged)))
    first = build_manifest(records, path)
    (damaged / "bad" / "text.avi").unlink()
    (damaged / "bad" / "empty.avi").write_text("changed")
    looked_at = []
    monkeypatch.setattr(
        manifest, "_count_all", lambda todo, *rest: looked_at.extend(row.path for row in todo)
    )
    second = build_manifest(records, path)
    assert [path.rpartition("/")[2] for path in looked_at] == ["empty.avi"]
    assert len(second) == len(first) - 1


def test_deleted_files_leave_the_stored_manifest(damaged, tmp_path):
    path, records = tmp_path / "manifest.csv", everything(Folder(str(damaged)))
    build_manifest(records, path)
    (damaged / "good" / "fine.avi").unlink()
    assert not [row for row in build_manifest(records, path) if row.endswith("fine.avi")]
    assert read_manifest(path) == build_manifest(records, path)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_cut_off_files_are_named(tmp_path, suffix):
    """FFmpeg is silent about the missing end; the container's duration is not."""
    whole, cut = tmp_path / f"whole.{suffix}", tmp_path / f"cut.{suffix}"
    frames = np.random.default_rng(0).integers(0, 255, (60, 48, 64, 3), dtype=np.uint8)
    write_video(whole, frames, options={"movflags": "faststart"} if suffix == "mp4" else {})
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert manifest.probe(str(whole)).get("reason") is None
    assert manifest.probe(str(whole))["num_frames"] == 60
    assert "truncated" in manifest.probe(str(cut))["reason"]


def test_sound_that_is_longer_than_the_picture_is_no_fault(tmp_path):
    path, silence = tmp_path / "clip.mp4", np.zeros((1, 1024), np.float32)
    with av.open(str(path), "w") as container:
        video, sound = (
            container.add_stream("mpeg4", rate=25),
            container.add_stream("aac", rate=8000),
        )
        video.width, video.height, sound.layout = 64, 48, "mono"
        for _ in range(50):  # 2 s
            container.mux(
                video.encode(
                    av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
                )
            )
        for _ in range(32):  # 4 s
            frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
            frame.sample_rate = 8000
            container.mux(sound.encode(frame))
        for stream in (video, sound):
            container.mux(stream.encode())
    found = manifest.probe(str(path))
    assert found["num_frames"] == 50
    assert "reason" not in found


def test_the_demo_is_never_rendered_over_something_else(tmp_path, mini_ucf101):
    root = tmp_path / "ucf101"
    shutil.copytree(mini_ucf101, root)
    (root / "ground_truth.csv").unlink(missing_ok=True)
    before = sorted(path.read_bytes() for path in root.glob("ucfTrainTestlist/*"))
    with pytest.raises(DatasetError, match="something else than the demo"):
        Demo(str(root))
    assert sorted(path.read_bytes() for path in root.glob("ucfTrainTestlist/*")) == before


def test_groups_of_a_folder():
    names = {
        "match7_c01.mp4": "match7",
        "match7_c02.mp4": "match7",
        "IMG_0001.mp4": "IMG_0001",
        "a-part2.avi": "a",
        "001.avi": "001",
    }
    assert {name: folder._group(Path(name)) for name in names} == names


def test_decoders_that_hang_are_killed(tmp_path, monkeypatch):
    """Opening a pipe that nobody writes to blocks for ever, in a real child process."""
    pipe = tmp_path / "hangs.avi"
    os.mkfifo(pipe)
    monkeypatch.setattr(manifest, "probe", open)
    counted = build_manifest(
        [VideoRecord("good/hangs", pipe, (0,), "x")], tmp_path / "manifest.csv", time_limit_sec=4
    )
    assert counted[str(pipe)].reason == "decoding took longer than 4 s"


def test_pipes_are_refused_at_once(tmp_path):
    """Opening a pipe that nobody writes to would block for ever."""
    pipe = tmp_path / "hangs.avi"
    os.mkfifo(pipe)
    assert manifest.probe(str(pipe)) == {
        "reason": "neither a file nor a folder (a pipe or a device)"
    }
    with pytest.raises(VideoReadError, match="a pipe or a device"):
        VideoReader(pipe).read([0])


def test_a_loop_of_links_is_a_row_with_a_reason(tmp_path):
    loop = tmp_path / "loop.avi"
    loop.symlink_to(loop)
    records = [VideoRecord("good/loop", loop, (0,), "x")]
    row = build_manifest(records, tmp_path / "manifest.csv")[str(loop)]
    assert row.reason.startswith("the file system does not give it: ")


def test_failures_that_may_pass_are_tried_again(tmp_path, mini_folder, monkeypatch):
    """A child that was killed for memory says nothing of the video."""
    clip, table = next((mini_folder / "Jump").iterdir()), tmp_path / "manifest.csv"
    records = [VideoRecord("Jump/clip", clip, (0,), "x")]
    counted = build_manifest(records, table)
    row = counted[str(clip)]
    for reason, again in (
        (f"{manifest.CRASHED}: ProcessExpired", True),
        ("not a readable video: Permission denied", True),
        ("other", False),
    ):
        manifest._write(table, {str(clip): dataclasses.replace(row, reason=reason)})
        assert (build_manifest(records, table)[str(clip)] == row) == again


def test_broken_test_videos_need_permission_and_training_goes_on(tmp_path, mini_ucf101):
    root = tmp_path / "ucf"
    shutil.copytree(mini_ucf101, root)
    (root / "UCF-101" / "Jump" / "v_Jump_g03_c01.avi").write_text("broken")
    said = []
    split = prepare_split(
        UCF101(str(root)),
        1,
        build_manifest(everything(UCF101(str(root))), tmp_path / "m.csv"),
        0.2,
        say=said.append,
    )
    assert "v_Jump_g03_c01.avi" in "".join(said)
    assert len(split.train) + len(split.val) == 14
    (root / "UCF-101" / "Jump" / "v_Jump_g01_c01.avi").write_text("broken")
    counted = build_manifest(everything(UCF101(str(root))), tmp_path / "m.csv")
    with pytest.raises(
        DatasetError, match=r"1 test videos of split 1 do not decode:\n.*v_Jump_g01"
    ):
        prepare_split(UCF101(str(root)), 1, counted, 0.2)
    assert (
        prepare_split(UCF101(str(root)), 1, counted, 0.2, allow_missing=True).num_test_missing == 1
    )


def test_demo_clips_are_seeded_and_their_ground_truth_is_true():
    """Frames change inside the recorded window and region; the actor's colour is nowhere else."""
    for name in ACTIONS:
        rendered = partial(render_clip, ACTIONS[name], 1, (0, 1, 1), SETTINGS[name])
        frames, (first, last), (x, y, width, height) = rendered()
        assert (frames == rendered()[0]).all()
        assert 40 <= len(frames) <= 56
        assert 0 <= first < last < len(frames)
        actor = (np.abs(frames.astype(int) - ACTIONS[name].colour) <= 25).all(-1)
        assert actor[first : last + 1].any((1, 2)).all()
        assert not actor[:first].any()
        assert not actor[last + 1 :].any()
        actor[:, y : y + height, x : x + width] = False
        assert not actor.any()


def test_the_demos_first_weights_tell_its_actors_apart_on_scenes_of_any_setting():
    """By the nearest mean of their features; guessing is right in one of six."""
    recipe = yaml.safe_load((DEMO_RECIPES / "backbone.yaml").read_text())
    start = str(DEMO_RECIPES / "start.safetensors")
    network = Backbone(
        **recipe["model"]["init_args"]["backbone"], weights=start, input_px=64
    ).eval()
    generator = np.random.default_rng(5)
    features = []
    for action in ACTIONS.values():
        stills = np.stack([render_still(action, generator) for _ in range(30)])
        crops = torch.from_numpy(stills[:, 20:100, 40:120]).permute(0, 3, 1, 2)
        with torch.no_grad():
            maps = network(F.interpolate(crops, size=64))
        features.append(maps.mean((2, 3)))
    means = torch.stack([of_action[:20].mean(0) for of_action in features])
    tested = torch.cat([of_action[20:] for of_action in features])
    named = torch.cdist(tested, means).argmin(1)
    right = (named == torch.arange(len(ACTIONS)).repeat_interleave(10)).float().mean()
    assert right > 0.9


def test_demo_walks_ucf101s_road(tmp_path):
    demo = Demo(str(tmp_path / "demo"))
    official = demo.records(1)
    assert (len(official.train), len(official.test), demo.classes) == (252, 126, list(ACTIONS))
    counted = build_manifest(everything(demo), tmp_path / "manifest.csv")
    assert len(counted) == 378
    for row in counted.values():
        assert row.reason == ""
        assert 40 <= row.num_frames <= 56


def test_half_of_the_demos_scenes_have_the_setting_of_another_class():
    """On either side of every split, so that no setting tells a class and each suggests one."""
    for test_groups in TEST_GROUPS.values():
        train_groups = set(range(1, NUM_GROUPS + 1)) - set(test_groups)
        for groups in (test_groups, train_groups):
            for name in ACTIONS:
                own = [class_of_setting(name, group) == name for group in groups]
                assert abs(sum(own) - len(own) / 2) <= 1
    misleading = [class_of_setting("BoxOrbit", group) for group in range(2, NUM_GROUPS, 2)]
    assert Counter(misleading) == {name: 2 for name in ACTIONS if name != "BoxOrbit"}


def test_a_demo_of_other_scenes_is_rendered_anew(tmp_path, monkeypatch):
    monkeypatch.setattr("sta_tsn.datasets.demo.NUM_GROUPS", 1)
    monkeypatch.setattr("sta_tsn.datasets.demo.CLIPS_PER_GROUP", 1)
    render_demo(tmp_path)
    clip = tmp_path / "UCF-101" / "BoxOrbit" / "v_BoxOrbit_g01_c01.avi"
    rendered = clip.read_bytes()
    clip.write_bytes(b"kept where the scenes are the same")
    render_demo(tmp_path)
    assert clip.read_bytes() != rendered
    (tmp_path / MARKER).write_text("")  # as versions before the first number left it
    former = clip.with_name("v_BoxOrbit_g99_c01.avi")
    former.touch()
    render_demo(tmp_path)
    assert clip.read_bytes() == rendered
    assert not former.exists()


def test_a_copy_encoded_anew_is_another_input(mini_ucf101, tmp_path):
    """Same names, labels and frame counts, other pixels: training is not "done already"."""
    dataset = UCF101(str(mini_ucf101))
    manifest = build_manifest(dataset.records(1).videos, tmp_path / "manifest.csv")
    stamp = prepare_split(dataset, 1, manifest).fingerprint
    assert prepare_split(dataset, 1, manifest).fingerprint == stamp
    file = next(iter(manifest))
    other = manifest | {
        file: dataclasses.replace(manifest[file], size_bytes=manifest[file].size_bytes + 1)
    }
    assert prepare_split(dataset, 1, other).fingerprint != stamp
    with pytest.raises(ConfigError, match="val_share=10: the share"):
        prepare_split(dataset, 1, manifest, val_share=10)


def test_what_another_count_wrote_meanwhile_is_kept(mini_ucf101, tmp_path, monkeypatch):
    records, path, real = (
        UCF101(str(mini_ucf101)).records(1).videos,
        tmp_path / "manifest.csv",
        manifest_module._outcome,
    )
    others = iter([records[1:2]])

    def outcome(*arguments):
        for other in others:
            build_manifest(other, path)
        return real(*arguments)

    monkeypatch.setattr(manifest_module, "_outcome", outcome)
    build_manifest(records[:1], path)
    assert set(read_manifest(path)) == {str(record.path.absolute()) for record in records[:2]}
