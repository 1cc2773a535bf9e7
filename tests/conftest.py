"""Miniature datasets with real encoded videos, written once per test session; nothing is downloaded."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from sta_tsn.datasets.demo import write_video

os.environ.setdefault("WANDB_MODE", "disabled")  # one test runs W&B offline for real
ROOT = Path(__file__).parent.parent
CLASSES = ("Jump", "Run", "Sit")
GROUPS_OF_SPLIT = {"train": (3, 4, 5, 6, 7), "test": (1, 2)}


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real videos: the folder that SHARED_DATA names, or ../shared/data beside the checkout."""
    path = Path(os.environ.get("SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"no real data: SHARED_DATA={path} is not a folder")
    return path


@pytest.fixture(scope="session")
def index_video(tmp_path_factory) -> Path:
    """Lossless, 50 frames of 64x48: the grey level of frame i is 5 i."""
    path = tmp_path_factory.mktemp("video") / "index.mkv"
    frames = np.empty((50, 48, 64, 3), np.uint8)
    frames[:] = (5 * np.arange(50, dtype=np.uint8))[:, None, None, None]
    write_video(path, frames, codec="ffv1", pixel_format="bgr0")
    return path


def clip(label: int, seed: int, num_frames: int = 14) -> np.ndarray:
    """Frames whose colour tells the class, with noise."""
    generator = np.random.default_rng(seed)
    frames = generator.integers(0, 60, (num_frames, 48, 64, 3), dtype=np.uint8)
    frames[..., label] += 150
    return frames


@pytest.fixture(scope="session")
def mini_ucf101(tmp_path_factory) -> Path:
    """UCF101's layout: 3 classes, 7 groups, one clip each; split 1 has 15 training and 5 test clips.

    The last class has one test clip fewer, so that no number of processes divides the test videos evenly.
    """
    root = tmp_path_factory.mktemp("mini_ucf101")
    lists = root / "ucfTrainTestlist"
    lists.mkdir()
    (lists / "classInd.txt").write_text("".join(f"{i} {name}\r\n" for i, name in enumerate(CLASSES, 1)))
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


@pytest.fixture(scope="session")
def mini_jhmdb(tmp_path_factory, mini_ucf101) -> Path:
    """The same clips in JHMDB's layout."""
    root = tmp_path_factory.mktemp("mini_jhmdb")
    (root / "splits").mkdir()
    for name in CLASSES:
        lines = []
        for path in sorted((mini_ucf101 / "UCF-101" / name).iterdir()):
            group = path.stem.split("_")[2]
            target = root / "ReCompress_Videos" / name / f"Film{group}_{name}_f_cm_np1_fr_med_0.avi"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
            lines.append(f"{target.name} {2 if group in ('g01', 'g02') else 1}\n")
        (root / "splits" / f"{name}_test_split1.txt").write_text("".join(lines))
    return root


@pytest.fixture(scope="session")
def mini_folder(tmp_path_factory, mini_ucf101) -> Path:
    """The same clips, one folder per class."""
    root = tmp_path_factory.mktemp("mini_folder")
    for path in sorted(mini_ucf101.glob("UCF-101/*/*.avi")):
        target = root / path.parent.name / path.name
        target.parent.mkdir(exist_ok=True)
        shutil.copy(path, target)
    return root
