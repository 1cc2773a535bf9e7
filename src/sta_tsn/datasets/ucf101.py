"""UCF101: 101 classes, 13,320 clips of 320x240 at 25 fps, three official splits.

Splits by the dataset's authors (9537/3783, 9586/3734, 9624/3696 train/test). Group = class and gXX, the
source video. Citation: Soomro, Zamir, Shah, "UCF101: A Dataset of 101 Human Actions Classes From Videos
in The Wild", CRCV-TR-12-01, 2012. Page, archives UCF101.rar and
UCF101TrainTestSplits-RecognitionTask.zip, and terms of use: https://www.crcv.ucf.edu/data/UCF101.php
"""

import re
from pathlib import Path, PurePosixPath

from sta_tsn.datasets.records import OfficialSplit, VideoDataset, VideoRecord
from sta_tsn.errors import DatasetError


class UCF101(VideoDataset):
    """See `VideoDataset`. Lists are parsed as they are (Windows line ends, labels 1-based)."""

    layout = "  UCF-101/<Class>/v_<Class>_gXX_cXX.avi\n  ucfTrainTestlist/classInd.txt, trainlist01.txt, testlist01.txt, ... 03"
    num_splits = 3

    def _read_classes(self) -> list[str]:
        path = self.require("ucfTrainTestlist/classInd.txt")
        classes = []
        for number, line in _lines(path):
            if line.split()[:1] != [str(len(classes) + 1)] or len(line.split()) != 2:
                raise DatasetError(f"{path}, line {number}: {line!r} is not '{len(classes) + 1} <Class>'")
            classes.append(line.split()[1])
        return classes

    def records(self, split: int) -> OfficialSplit:
        self.check_split(split)
        return OfficialSplit(*(self._read_list(f"ucfTrainTestlist/{part}list{split:02d}.txt") for part in ("train", "test")))

    def _read_list(self, relative: str) -> list[VideoRecord]:
        path = self.require(relative)
        return [self._record(line, f"{path}, line {number}") for number, line in _lines(path)]

    def _record(self, line: str, place: str) -> VideoRecord:
        name, _, label = line.partition(" ")
        parts = PurePosixPath(name).parts
        if len(parts) != 2 or ".." in parts:
            raise DatasetError(f"{place}: {name!r} is not <Class>/<clip>.avi")
        folder, file = parts
        if folder not in self.classes:
            raise DatasetError(f"{place}: class {folder!r} is not in classInd.txt")
        index = self.classes.index(folder)
        if label and label.strip() != str(index + 1):
            raise DatasetError(f"{place}: label {label.strip()} for class {folder!r}, which classInd.txt numbers {index + 1}")
        stem = file.rpartition(".")[0]
        found = re.search(r"_(g\d+)_c\d+$", stem)
        if not found:
            raise DatasetError(f"{place}: {file!r} names no group (v_<Class>_gXX_cXX.avi)")
        return VideoRecord(f"{folder}/{stem}", self.root / "UCF-101" / name, (index,), f"{folder}_{found[1]}")


def _lines(path: Path) -> list[tuple[int, str]]:
    """Line number and text of every non-empty line; an empty list file is an error."""
    text = path.read_text(encoding="utf-8-sig")
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise DatasetError(f"{path}: the file is empty; unpack the official archive again")
    return lines
