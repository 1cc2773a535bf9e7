"""Every dataset's lists: the real ones with their published counts, and damaged ones.

Of the layouts that we have no files of there are made-up ones.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from sta_tsn.datasets import (
    HMDB51,
    JHMDB,
    THUMOS14,
    UCF101,
    Demo,
    Folder,
    Kinetics400,
    SomethingV1,
    SomethingV2,
    VideoRecord,
)
from sta_tsn.errors import DatasetError


def test_official_counts_of_the_four_datasets(shared_data):
    """As published by the datasets' authors."""
    found = {}
    for kind in (UCF101, HMDB51, JHMDB, THUMOS14):
        dataset = kind(str(shared_data / kind.__name__.lower()))
        splits = [dataset.records(split) for split in range(1, dataset.num_splits + 1)]
        found[dataset.name] = (
            len(dataset.classes),
            len(dataset.listed()),
            [(len(s.train), len(s.test)) for s in splits],
        )
    assert found == {
        "UCF101": (101, 13320, [(9537, 3783), (9586, 3734), (9624, 3696)]),
        "HMDB51": (51, 6766, [(3570, 1530)] * 3),
        "JHMDB": (21, 928, [(660, 268), (658, 270), (663, 265)]),
        "THUMOS14": (101, 13320 + 1010 + 1574, [(13320, 1574)]),
    }


def test_labels_of_thumos14(shared_data):
    official = THUMOS14(str(shared_data / "thumos14")).records(1)
    assert len(official.val) == 1010
    assert all(record.labels for record in official.val)
    assert sum(not record.labels for record in official.test) == 480  # background
    assert sum(len(record.labels) > 1 for record in official.test) == 171
    assert all(len(record.labels) == 1 for record in official.train)


def test_key_frames_of_thumos14_lie_in_the_annotated_seconds(shared_data):
    dataset = THUMOS14(str(shared_data / "thumos14"))
    record = next(
        r for r in dataset.records(1).test if r.path.stem == "video_test_0000085"
    )  # Diving, 30 fps
    counted = VideoRecord(**{**vars(record), "num_frames": 7000})
    frames = np.flatnonzero(dataset.key_frames(counted))
    assert set(range(round(170.7 * 30), round(172.5 * 30))) <= set(frames)
    assert not set(range(173 * 30, 212 * 30)) & set(frames)
    background = next(r for r in dataset.records(1).test if not r.labels)
    assert dataset.key_frames(background) is None


def test_groups_of_hmdb51_are_source_videos(shared_data):
    records = {
        record.id.partition("/")[2]: record
        for record in HMDB51(str(shared_data / "hmdb51")).listed()
    }
    clips = [
        name
        for name in records
        if name.startswith("Golf_Tips_-_Hit_The_Driver_300+_Yards!!!_golf_f_nm_np1_fr_med_")
    ]
    assert {records[name].group for name in clips} == {"Golf_Tips_-_Hit_The_Driver_300+_Yards!!!"}
    assert (shared_data / "hmdb51" / "hmdb51_org" / "golf" / f"{clips[0]}.avi") in [
        records[name].path for name in clips
    ]


def test_puppet_masks_fit_the_frames_of_jhmdb(shared_data, tmp_path):
    dataset = JHMDB(str(shared_data / "jhmdb"))
    record = dataset.listed()[0]
    mask = dataset.actor_mask(record)
    assert mask.dtype == bool
    assert mask.shape[1:] == (240, 320)
    assert 0.01 < mask.mean() < 0.8
    with pytest.raises(DatasetError, match=rf"{len(mask)} masks for 7 frames"):
        dataset.actor_mask(VideoRecord(**{**vars(record), "num_frames": 7}))


def test_ground_truth_of_the_demo(tmp_path, monkeypatch):
    (tmp_path / "ucfTrainTestlist").mkdir()
    (tmp_path / "ucfTrainTestlist" / "classInd.txt").write_text("1 BallBounce\n")
    (tmp_path / "ground_truth.csv").write_text(
        "id,first_frame,last_frame,x_px,y_px,width_px,height_px\n"
        "BallBounce/v_BallBounce_g01_c01,2,4,-3,10,50,60\n"
    )
    dataset, record = (
        Demo(str(tmp_path)),
        VideoRecord("BallBounce/v_BallBounce_g01_c01", Path("x"), (0,), "g", num_frames=8),
    )
    assert np.flatnonzero(dataset.key_frames(record)).tolist() == [2, 3, 4]
    mask = dataset.actor_mask(record)
    assert mask.shape == (8, 120, 160)
    assert mask.sum() == 3 * 47 * 60
    assert mask[3, 10:70, :47].all()


# --- layouts of which no files are at hand


@pytest.fixture
def kinetics(tmp_path) -> Path:
    (tmp_path / "annotations").mkdir()
    header = "label,youtube_id,time_start,time_end,split\n"
    (tmp_path / "annotations" / "train.csv").write_text(
        header + "yoga,---abc,20,30,train\narm wrestling,D-_x,5,15,train\n"
    )
    (tmp_path / "annotations" / "val.csv").write_text(header + "yoga,zzz,0,10,val\n")
    (tmp_path / "train" / "yoga").mkdir(parents=True)
    (tmp_path / "train" / "yoga" / "---abc_000020_000030.mp4").touch()
    return tmp_path


def test_kinetics400(kinetics):
    dataset = Kinetics400(str(kinetics))
    official = dataset.records(1)
    assert dataset.classes == ["arm wrestling", "yoga"]
    assert [record.labels for record in official.train] == [(1,), (0,)]
    assert official.train[0].path == kinetics / "train" / "yoga" / "---abc_000020_000030.mp4"
    assert official.train[1].path == kinetics / "train" / "D-_x_000005_000015.mp4"
    assert official.test[0].group == "zzz"


@pytest.mark.parametrize(
    "row, complaint",
    [
        ("yoga,../../x,1,2,val", r"val.csv, line 2: .* is not a path inside"),
        (
            "joga,x,1,2,val",
            r"line 2: class 'joga' is not in annotations/train.csv \(is yoga meant\?\)",
        ),
        ("yoga,x,soon,2,val", "line 2: 'soon' to '2' are not seconds"),
        ("yoga,x,inf,2,val", "line 2: 'inf' to '2' are not seconds"),
        ("yoga,x,1", "line 2: 5 columns are expected"),
    ],
)
def test_damaged_kinetics_lists(kinetics, row, complaint):
    path = kinetics / "annotations" / "val.csv"
    path.write_text(path.read_text().splitlines()[0] + "\n" + row + "\n")
    with pytest.raises(DatasetError, match=complaint):
        Kinetics400(str(kinetics)).records(1)


def test_something_v1_lists_folders_of_pictures(tmp_path):
    for part, text in {
        "labels": "Holding something\nTurning something\n",
        "train": "7;Turning something\n",
        "validation": "8;Holding something\n",
    }.items():
        (tmp_path / f"something-something-v1-{part}.csv").write_text(text)
    official = SomethingV1(str(tmp_path)).records(1)
    assert official.train == [
        VideoRecord("7", tmp_path / "20bn-something-something-v1" / "7", (1,), "7")
    ]
    assert official.test[0].labels == (0,)


@pytest.mark.parametrize("name", ["something-something-v2-{}.json", "labels/{}.json"])
def test_something_v2_in_both_layouts(tmp_path, name):
    (tmp_path / "labels").mkdir()
    lists = {
        "labels": {
            "Holding something next to something": "0",
            "Turning something upside down": "1",
        },
        "train": [
            {
                "id": "7",
                "label": "turning a cup upside down",
                "template": "Turning [something] upside down",
            }
        ],
        "validation": [{"id": "8", "template": "Holding [something] next to [something]"}],
    }
    for part, content in lists.items():
        (tmp_path / name.format(part)).write_text(json.dumps(content))
    dataset = SomethingV2(str(tmp_path))
    assert dataset.classes == list(lists["labels"])
    assert dataset.records(1).train == [
        VideoRecord("7", tmp_path / "20bn-something-something-v2" / "7.webm", (1,), "7")
    ]
    (tmp_path / name.format("train")).write_text("5")
    with pytest.raises(DatasetError, match=r"train\.json is not a list of"):
        dataset.records(1)
    (tmp_path / name.format("train")).write_text('[{"id": "7"}]')
    with pytest.raises(DatasetError, match=r'train.json, video 1: .* has no "id" and "template"'):
        dataset.records(1)
    (tmp_path / name.format("train")).write_text('[{"id": ')
    with pytest.raises(DatasetError, match="line 1: not valid JSON"):
        dataset.records(1)


def write_table(folder: Path, *rows: str) -> str:
    (folder / "videos.csv").write_text("path,labels,group,split\n" + "\n".join(rows) + "\n")
    return str(folder)


def test_folder_with_a_table_of_several_labels_and_splits(tmp_path):
    dataset = Folder(
        write_table(
            tmp_path,
            "a.mp4,run;jump,g1,train",
            "b.mp4,run,g2,val",
            "c.mp4,sit,g3,test",
            "d.mp4,sit,g4,train",
        )
    )
    official = dataset.records(1)
    assert dataset.classes == ["jump", "run", "sit"]
    assert [(r.id, r.labels, r.group) for r in official.train] == [
        ("a.mp4", (1, 0), "g1"),
        ("d.mp4", (2,), "g4"),
    ]
    assert [r.id for r in official.val] == ["b.mp4"]
    assert [r.id for r in official.test] == ["c.mp4"]


def test_folder_with_a_table_and_no_split_keeps_groups_together(tmp_path):
    rows = [
        f"{label}{i}.mp4,{label},{label}{i // 3}," for label in ("run", "sit") for i in range(12)
    ]
    official = Folder(write_table(tmp_path, *rows)).records(1)
    assert official.val is None
    assert len(official.train) + len(official.test) == 24
    assert official.test
    assert {r.group for r in official.train}.isdisjoint(r.group for r in official.test)


@pytest.mark.parametrize(
    "rows, complaint",
    [
        (["a.mp4,run,,train", "b.mp4,;,,test"], "line 3: 'b.mp4' has no label"),
        (["a.mp4,run,,train", "b.mp4,sit,,dev"], "line 3: split 'dev' is not train, val or test"),
        (["a.mp4,run,,train", "a.mp4,sit,,train"], "a.mp4"),
        (["../a.mp4,run,,train", "b.mp4,sit,,test"], "line 2: '../a.mp4' is not a path inside"),
        (["a.mp4,run,,train", "b.mp4,run,,test"], "holds 1 classes"),
        (["a.mp4,run;run,,train", "b.mp4,sit,,test"], "line 2: 'run;run' names a class twice"),
    ],
)
def test_damaged_folder_tables(tmp_path, rows, complaint):
    with pytest.raises(DatasetError, match=complaint):
        Folder(write_table(tmp_path, *rows)).records(1)


def test_folders_inside_classes_are_named_and_broken_links_are_listed(tmp_path):
    for name in ("run", "sit"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.mp4").symlink_to(tmp_path / "gone.mp4")
    assert [record.id for record in Folder(str(tmp_path)).listed()] == [
        "run/run.mp4",
        "sit/sit.mp4",
    ]
    (tmp_path / "run" / "tape1").mkdir()
    with pytest.raises(DatasetError, match="tape1 is a folder inside a class"):
        Folder(str(tmp_path)).records(1)


# --- damaged lists


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("Fly/v_Fly_g01_c01.avi 1", r"trainlist01.txt, line 1: class 'Fly' is not in classInd.txt"),
        ("Jmup/v_Jmup_g01_c01.avi 1", r"is Jump meant"),
        (
            "Jump/v_Jump_g01_c01.avi 3",
            "line 1: label 3 for class 'Jump', which classInd.txt numbers 1",
        ),
        (
            "../v_Jump_g01_c01.avi 1",
            "line 1: '../v_Jump_g01_c01.avi' is not a path inside the dataset's folder",
        ),
        ("C:\\Jump\\v_Jump_g01_c01.avi 1", "is not a path inside"),
        ("v_Jump_g01_c01.avi 1", "is not <Class>/<clip>.avi"),
        ("Jump/v_Jump.avi 1", "names no group"),
        (
            "Jump/v_Jump_g03_c01.avi 1\nJump/v_Jump_g03_c01.avi 1\n",
            r"line 2: Jump/v_Jump_g03_c01 is listed already \(.*line 1\)",
        ),
        ("Jump/v_Jump_g01_c01.avi 1", "1 videos are on two sides"),
        (" \r\n", "the file is empty"),
        (b"Jump/v_\xff\xfe.avi 1", "byte 7 is not UTF-8"),
    ],
)
def test_damaged_ucf101_lists(tmp_path, mini_ucf101, text, complaint):
    shutil.copytree(mini_ucf101 / "ucfTrainTestlist", tmp_path / "ucfTrainTestlist")
    (tmp_path / "ucfTrainTestlist" / "trainlist01.txt").write_bytes(
        text if isinstance(text, bytes) else text.encode()
    )
    with pytest.raises(DatasetError, match=complaint):
        UCF101(str(tmp_path)).records(1)


def test_harmless_oddities_are_read_over(tmp_path, mini_ucf101):
    """A byte-order mark, Windows line ends, blank lines and trailing spaces."""
    shutil.copytree(mini_ucf101 / "ucfTrainTestlist", tmp_path / "ucfTrainTestlist")
    for name in ("classInd.txt", "trainlist01.txt"):
        path = tmp_path / "ucfTrainTestlist" / name
        path.write_bytes(b"\xef\xbb\xbf" + path.read_text().replace("\n", " \r\n\r\n").encode())
    assert UCF101(str(tmp_path)).records(1).train == [
        VideoRecord(
            **{
                **vars(r),
                "path": tmp_path / "UCF-101" / r.path.relative_to(mini_ucf101 / "UCF-101"),
            }
        )
        for r in UCF101(str(mini_ucf101)).records(1).train
    ]


@pytest.mark.parametrize("line", ["clip.avi 3", "clip.avi", "1", "../clip.avi 1", "run/clip.avi 1"])
def test_damaged_hmdb51_lists(tmp_path, line):
    lists = tmp_path / "testTrainMulti_7030_splits"
    lists.mkdir()
    (lists / "._run_test_split1.txt").write_text("rubbish of macOS")
    for name in ("run", "sit"):
        (lists / f"{name}_test_split1.txt").write_text(
            f"a_{name}_f_cm_np1_fr_med_0.avi 1 \n{line}\n"
        )
    with pytest.raises(DatasetError, match=r"run_test_split1\.txt, line 2"):
        HMDB51(str(tmp_path)).records(1)


@pytest.fixture
def damaged_thumos14(tmp_path, mini_thumos14) -> Path:
    shutil.copytree(mini_thumos14.parent, tmp_path / "data")
    return tmp_path / "data" / "thumos14"


def test_damaged_thumos14_labels(damaged_thumos14):
    assert THUMOS14(str(damaged_thumos14)).records(1).test[0].labels == (0, 1)
    path = damaged_thumos14 / "test_set_meta" / "test_set.mat"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match=r"test_set.mat: no list 'test_videos' can be read"):
        THUMOS14(str(damaged_thumos14)).records(1)
    video = {"video_name": "v1", "primary_action": "Jump", "primary_action_index": 2}
    video |= {
        "secondary_actions": np.array([]),
        "secondary_actions_indices": np.array([]),
        "frame_rate_FPS": 25.0,
    }
    savemat(path, {"test_videos": [video]})
    with pytest.raises(DatasetError, match=r"video 1: classes \['Jump'\] with indices \[2\]"):
        THUMOS14(str(damaged_thumos14)).records(1)


@pytest.mark.parametrize("line", ["v1 5.0 2.0", "v1 5.0", "v1 soon 3", "v1 -1 3"])
def test_damaged_thumos14_intervals(damaged_thumos14, line):
    folder = damaged_thumos14 / "TH14_Temporal_annotations_test" / "annotation"
    folder.mkdir(parents=True)
    (folder / "Jump_test.txt").write_text(f"v1  1.0 2.0\n{line}\n")
    with pytest.raises(DatasetError, match=r"Jump_test\.txt, line 2"):
        _ = THUMOS14(str(damaged_thumos14)).intervals


# --- the same harm to every parser's list


PARSERS = {
    "hmdb51": (HMDB51, "testTrainMulti_7030_splits/Jump_test_split1.txt"),
    "jhmdb": (JHMDB, "splits/Jump_test_split1.txt"),
    "ucf101": (UCF101, "ucfTrainTestlist/trainlist01.txt"),
    "kinetics400": (Kinetics400, "annotations/train.csv"),
    "something_v1": (SomethingV1, "something-something-v1-train.csv"),
    "something_v2": (SomethingV2, None),
}


@pytest.fixture(params=PARSERS)
def parser(request, tmp_path):
    """Return a dataset's class, a copy of its miniature, and one of its lists."""
    kind, name = PARSERS[request.param]
    root = Path(
        shutil.copytree(request.getfixturevalue(f"mini_{request.param}"), tmp_path / "data")
    )
    file = root / name if name else next(root.rglob("*train.json"))
    return kind, root, file


def test_marks_and_line_ends_of_windows_do_no_harm(parser):
    kind, root, file = parser
    before = kind(str(root)).records(1).train
    file.write_bytes(b"\xef\xbb\xbf" + file.read_text().replace("\n", "\r\n").encode())
    assert kind(str(root)).records(1).train == before


def test_empty_lists_are_named(parser):
    kind, root, file = parser
    file.write_text("\n")
    with pytest.raises(DatasetError, match=f"{file.name}.*is empty"):
        kind(str(root)).records(1)


def test_videos_listed_twice_are_named(parser):
    kind, root, file = parser
    text = file.read_text()
    if file.suffix == ".json":
        text = json.dumps([*json.loads(text), json.loads(text)[-1]])
    else:
        text = text.rstrip("\n") + "\n" + text.rstrip("\n").splitlines()[-1] + "\n"
    file.write_text(text)
    with pytest.raises(DatasetError, match=f"{file.name}, (line|video) .*listed already"):
        kind(str(root)).records(1)


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("yoga,abc,20,30,train", "line 2: split 'train' in the list of val"),
        ("yoga,abc,-3,7,val", "line 2: a clip from second -3 to 7"),
        ("yoga,abc,9,3,val", "a clip from second 9 to 3"),
    ],
)
def test_kinetics_rows_that_contradict(kinetics, row, complaint):
    (kinetics / "annotations" / "val.csv").write_text(
        f"label,youtube_id,time_start,time_end,split\n{row}\n"
    )
    with pytest.raises(DatasetError, match=complaint):
        Kinetics400(str(kinetics)).records(1)


def test_lists_with_nothing_but_a_header(kinetics):
    (kinetics / "annotations" / "train.csv").write_text(
        "label,youtube_id,time_start,time_end,split\n"
    )
    with pytest.raises(DatasetError, match=r"train\.csv: there is a header and no row below it"):
        Kinetics400(str(kinetics))


def test_a_clip_without_an_ending_is_no_clip(tmp_path, mini_hmdb51):
    root = Path(shutil.copytree(mini_hmdb51, tmp_path / "data"))
    (root / "testTrainMulti_7030_splits" / "Jump_test_split1.txt").write_text("clip 1\n")
    with pytest.raises(DatasetError, match=r"line 1: 'clip 1' is not '<clip>\.avi' and 1"):
        HMDB51(str(root)).records(1)


def test_a_group_on_two_sides_of_your_own_split(tmp_path):
    rows = [
        "path,label,group,split",
        "a.mp4,x,match,train",
        "b.mp4,y,other,test",
        "c.mp4,x,match,test",
    ]
    (tmp_path / "videos.csv").write_text("\n".join(rows) + "\n")
    with pytest.raises(DatasetError, match="line 4: group 'match' is in train and in test"):
        Folder(str(tmp_path)).records(1)
