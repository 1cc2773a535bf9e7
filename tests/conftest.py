"""Miniature datasets with real encoded videos, written once per test session.

Nothing is downloaded.
"""

import itertools
import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from filelock import FileLock
from scipy.io import savemat
from tests_support import features_command, train, write_mini_experiments

from sta_tsn.cli import main
from sta_tsn.datasets.demo import write_video
from sta_tsn.datasets.sbu import FOLDS

ROOT = Path(__file__).parent.parent
CLASSES = ("Jump", "Run", "Sit")
GROUPS_OF_SPLIT = {"train": (3, 4, 5, 6, 7), "test": (1, 2)}


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return real videos: the folder that SHARED_DATA names, or ../shared/data."""
    path = Path(os.environ.get("SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"no real data: SHARED_DATA={path} is not a folder")
    return path


@pytest.fixture(scope="session")
def index_video(tmp_path_factory) -> Path:
    """Write a lossless video of 50 frames of 64x48: the grey level of frame i is 5 i."""
    path = tmp_path_factory.mktemp("video") / "index.mkv"
    frames = np.empty((50, 48, 64, 3), np.uint8)
    frames[:] = (5 * np.arange(50, dtype=np.uint8))[:, None, None, None]
    write_video(path, frames, codec="ffv1", pixel_format="bgr0")
    return path


def clip(label: int, seed: int, num_frames: int = 14) -> np.ndarray:
    """Return frames whose colour tells the class, with noise."""
    generator = np.random.default_rng(seed)
    frames = generator.integers(0, 60, (num_frames, 48, 64, 3), dtype=np.uint8)
    frames[..., label] += 150
    return frames


@pytest.fixture(scope="session")
def mini_ucf101(tmp_path_factory) -> Path:
    """Write UCF101's layout: 3 classes, 7 groups, one clip each.

    Split 1 has 15 training and 5 test clips: the last class has one test clip fewer, so that no
    number of processes divides the test videos evenly.
    """
    return write_mini_ucf101(tmp_path_factory.mktemp("mini_ucf101"))


def write_mini_ucf101(root: Path) -> Path:
    """Write the clips and lists of `mini_ucf101` into a folder that is there."""
    lists = root / "ucfTrainTestlist"
    lists.mkdir()
    numbered = [f"{number} {name}\r\n" for number, name in enumerate(CLASSES, 1)]
    (lists / "classInd.txt").write_text("".join(numbered))
    for side, groups in GROUPS_OF_SPLIT.items():
        lines = []
        for label, name in enumerate(CLASSES):
            for group in groups:
                if (name, group) == ("Sit", 2):
                    continue
                file = f"{name}/v_{name}_g{group:02d}_c01.avi"
                path = root / "UCF-101" / file
                path.parent.mkdir(parents=True, exist_ok=True)
                write_video(path, clip(label, seed=10 * label + group))
                lines.append(f"{file} {label + 1}\r\n" if side == "train" else f"{file}\r\n")
        (lists / f"{side}list01.txt").write_text("".join(lines))
    return root


def write_hmdb51_lists(
    root: Path, mini_ucf101: Path, videos_folder: str, lists_folder: str
) -> Path:
    """Write the same clips with HMDB51's names and list format."""
    (root / lists_folder).mkdir()
    for name in CLASSES:
        lines = []
        for path in sorted((mini_ucf101 / "UCF-101" / name).iterdir()):
            group = path.stem.split("_")[2]
            target = root / videos_folder / name / f"Film{group}_{name}_f_cm_np1_fr_med_0.avi"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
            lines.append(f"{target.name} {2 if group in ('g01', 'g02') else 1} \n")
        (root / lists_folder / f"{name}_test_split1.txt").write_text("".join(lines))
    return root


@pytest.fixture(scope="session")
def mini_jhmdb(tmp_path_factory, mini_ucf101) -> Path:
    root = tmp_path_factory.mktemp("mini_jhmdb")
    return write_hmdb51_lists(root, mini_ucf101, "ReCompress_Videos", "splits")


@pytest.fixture(scope="session")
def mini_hmdb51(tmp_path_factory, mini_ucf101) -> Path:
    root = tmp_path_factory.mktemp("mini_hmdb51")
    return write_hmdb51_lists(root, mini_ucf101, "hmdb51_org", "testTrainMulti_7030_splits")


LABELS_OF_THUMOS14 = {
    "validation": [(0,), (1, 2), (2,)],
    "test": [(0, 1), (2,), (), (1,)],
}


@pytest.fixture(scope="session")
def mini_thumos14(tmp_path_factory, mini_ucf101) -> Path:
    """Write THUMOS14's layout, which learns from the miniature UCF101 beside it.

    Of its videos one of each part has two labels, and one of the test's is background.
    """
    root = tmp_path_factory.mktemp("mini_thumos14") / "thumos14"
    shutil.copytree(mini_ucf101, root.parent / "ucf101")
    lists = root.parent / "ucf101" / "ucfTrainTestlist"
    for split in (2, 3):
        for side in ("train", "test"):
            shutil.copy(lists / f"{side}list01.txt", lists / f"{side}list{split:02d}.txt")
    for part, folder in (("validation", "validation"), ("test", "TH14_test_set_mp4")):
        (root / folder).mkdir(parents=True)
        videos = []
        for number, labels in enumerate(LABELS_OF_THUMOS14[part], 1):
            video = entry_of_thumos14(f"video_{part}_{number:07d}", labels)
            frames = clip(video["primary_action_index"] - 1, seed=number, num_frames=40)
            write_video(root / folder / f"{video['video_name']}.mp4", frames)
            videos.append(video)
        (root / f"{part}_set_meta").mkdir()
        savemat(root / f"{part}_set_meta" / f"{part}_set.mat", {f"{part}_videos": videos})
    return root


def entry_of_thumos14(name: str, labels: tuple[int, ...]) -> dict:
    """Return what THUMOS14's lists say of a video; a background one resembles the first class."""
    primary, *secondary = labels or (0,)
    return {
        "video_name": name,
        "frame_rate_FPS": 25.0,
        "background_video": "NO" if labels else "YES",
        "primary_action": CLASSES[primary],
        "primary_action_index": primary + 1,
        "secondary_actions": np.array([CLASSES[label] for label in secondary], dtype=object),
        "secondary_actions_indices": np.array([label + 1 for label in secondary]),
    }


@pytest.fixture(scope="session")
def mini_kinetics400(tmp_path_factory, mini_ucf101) -> Path:
    root = tmp_path_factory.mktemp("mini_kinetics400")
    lines = {"train": [], "val": []}
    for number, path in enumerate(sorted(mini_ucf101.glob("UCF-101/*/*.avi"))):
        part = "val" if "_g01_" in path.name else "train"
        (root / part).mkdir(exist_ok=True)
        end = number + 10
        lines[part].append(f"{path.parent.name},id{number},{number},{end},{part}\n")
        # FFmpeg looks inside, not at the name.
        shutil.copy(path, root / part / f"id{number}_{number:06d}_{end:06d}.mp4")
    (root / "annotations").mkdir()
    header = "label,youtube_id,time_start,time_end,split\n"
    for part, rows in lines.items():
        (root / "annotations" / f"{part}.csv").write_text(header + "".join(rows))
    return root


@pytest.fixture(scope="session")
def mini_something_v1(tmp_path_factory) -> Path:
    """Write folders of pictures."""
    root = tmp_path_factory.mktemp("mini_something_v1")
    lines = {"train": [], "validation": []}
    for number in range(12):
        folder = root / "20bn-something-something-v1" / str(number)
        folder.mkdir(parents=True)
        for index, frame in enumerate(clip(number % 3, seed=number), 1):
            cv2.imwrite(str(folder / f"{index:05d}.jpg"), frame[..., ::-1])
        part = "validation" if number >= 9 else "train"
        lines[part].append(f"{number};{CLASSES[number % 3]}\n")
    lines["labels"] = [f"{name}\n" for name in CLASSES]
    for part, rows in lines.items():
        (root / f"something-something-v1-{part}.csv").write_text("".join(rows))
    return root


@pytest.fixture(scope="session")
def mini_something_v2(tmp_path_factory, mini_ucf101) -> Path:
    root = tmp_path_factory.mktemp("mini_something_v2")
    lists = {
        "train": [],
        "validation": [],
        "labels": {name: str(label) for label, name in enumerate(CLASSES)},
    }
    (root / "20bn-something-something-v2").mkdir()
    for number, path in enumerate(sorted(mini_ucf101.glob("UCF-101/*/*.avi"))):
        part = "validation" if "_g01_" in path.name else "train"
        lists[part].append({"id": str(number), "template": path.parent.name})
        shutil.copy(path, root / "20bn-something-something-v2" / f"{number}.webm")
    (root / "labels").mkdir()
    for part, content in lists.items():
        (root / "labels" / f"{part}.json").write_text(json.dumps(content))
    return root


@pytest.fixture(scope="session")
def mini_folder(tmp_path_factory, mini_ucf101) -> Path:
    """Write the same clips, one folder per class."""
    root = tmp_path_factory.mktemp("mini_folder")
    for path in sorted(mini_ucf101.glob("UCF-101/*/*.avi")):
        target = root / path.parent.name / path.name
        target.parent.mkdir(exist_ok=True)
        shutil.copy(path, target)
    return root


@pytest.fixture(scope="session")
def mini_sbu(tmp_path_factory) -> Path:
    """Write SBU's layout: 21 pairs, 8 classes, one take of 5 to 9 frames each.

    The class is how high the persons' hands are.
    """
    root = tmp_path_factory.mktemp("mini_sbu")
    generator = np.random.default_rng(0)
    for pair in itertools.chain.from_iterable(FOLDS):
        for label in range(8):
            num_frames = int(generator.integers(5, 10))
            frames = generator.uniform(0.4, 0.6, (num_frames, 2, 15, 3))
            frames[:, :, [5, 8], 1] = label / 8
            path = root / pair / f"{label + 1:02d}" / "001" / "skeleton_pos.txt"
            path.parent.mkdir(parents=True)
            path.write_text(sbu_lines(frames))
    return root


def sbu_lines(frames: np.ndarray) -> str:
    """Return (T, 2, 15, 3) as SBU's files hold it, numbered from 7."""
    lines = []
    for number, frame in enumerate(frames, 7):
        cells = [str(number), *(f"{value:.5g}" for value in frame.flatten())]
        lines.append(",".join(cells) + "\n")
    return "".join(lines)


@pytest.fixture
def mini_sbu_copy(mini_sbu, tmp_path) -> Path:
    return Path(shutil.copytree(mini_sbu, tmp_path / "sbu"))


@pytest.fixture(scope="session")
def trained(tmp_path_factory, mini_ucf101, worker_id):
    """Run one uninterrupted `sta-tsn train`, W&B offline: (experiments, runs, what it printed).

    It takes a minute or more, so that one test process makes it and the others take a copy, which
    is as good: stamps say what files hold, not where they lie.
    """
    if worker_id == "master":
        folder = tmp_path_factory.mktemp("trained")
        write_mini_experiments(folder, mini_ucf101)
        printed = train(folder / "experiments", folder / "runs", WANDB_MODE="offline")
        return folder / "experiments", folder / "runs", printed
    made = tmp_path_factory.getbasetemp().parent / "trained"
    made.mkdir(exist_ok=True)
    with FileLock(made / "lock"):
        if not (made / "printed.txt").exists():
            write_mini_experiments(made, mini_ucf101)
            printed = train(made / "experiments", made / "runs", WANDB_MODE="offline")
            (made / "printed.txt").write_text(printed)
    copy = tmp_path_factory.mktemp("copies") / "trained"
    shutil.copytree(made, copy)
    printed = (copy / "printed.txt").read_text().replace(str(made), str(copy))
    return copy / "experiments", copy / "runs", printed


@pytest.fixture(scope="session")
def frozen_store(tmp_path_factory, mini_ucf101) -> tuple[Path, Path]:
    """The miniature UCF101's features by a tiny frozen network: experiments and runs."""
    folder = tmp_path_factory.mktemp("frozen")
    experiments = write_mini_experiments(folder, mini_ucf101)
    assert main(features_command(experiments, folder / "runs")) == 0
    return experiments, folder / "runs"


@pytest.fixture(scope="session")
def tiny_encoders(tmp_path_factory) -> dict[str, str]:
    """Write a tiny V-JEPA 2 and VideoMAE as their library saves them; their names by kind.

    Clips have 8 frames of 32 px, tokens stand for 2 frames and 16 px.
    """
    import torch

    from sta_tsn.features.clip_encoder import CLIP_ENCODER

    transformers = pytest.importorskip("transformers")
    root = tmp_path_factory.mktemp("encoders")
    torch.manual_seed(0)
    common = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1}
    vjepa = transformers.VJEPA2Config(
        crop_size=32,
        frames_per_clip=8,
        pred_hidden_size=12,
        pred_num_attention_heads=1,
        pred_num_hidden_layers=1,
        **common,
    )
    transformers.VJEPA2Model(vjepa).save_pretrained(root / "tiny_vjepa2")
    transformers.VJEPA2VideoProcessor(crop_size=32).save_pretrained(root / "tiny_vjepa2")
    videomae = transformers.VideoMAEConfig(
        image_size=32, num_frames=8, intermediate_size=32, **common
    )
    size = {"height": 32, "width": 32}
    # As it was published: a classifier, with the processor of images of earlier versions.
    classifier = transformers.VideoMAEForVideoClassification(videomae)
    classifier.save_pretrained(root / "tiny_videomae")
    processor = transformers.VideoMAEImageProcessor(size={"shortest_edge": 32}, crop_size=size)
    processor.save_pretrained(root / "tiny_videomae")
    return {name: f"{CLIP_ENCODER}{root / name}" for name in ("tiny_vjepa2", "tiny_videomae")}
