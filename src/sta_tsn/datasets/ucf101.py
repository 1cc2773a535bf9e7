"""UCF101: 101 classes, 13,320 clips of 320x240 at 25 fps, three official splits.

Layout: `UCF-101/<Class>/v_<Class>_gXX_cXX.avi`; `ucfTrainTestlist/` holds classInd.txt (`<number>
<Class>`, from 1), trainlist0k.txt (`<Class>/<clip>.avi <number>`) and testlist0k.txt
(`<Class>/<clip>.avi`). Splits by the dataset's authors (9537/3783, 9586/3734, 9624/3696
train/test). Group = class and gXX, the source video. Citation: Soomro, Zamir, Shah, "UCF101: A
Dataset of 101 Human Actions Classes From Videos in The Wild", CRCV-TR-12-01, 2012. Page, archives
and terms of use: https://www.crcv.ucf.edu/data/UCF101.php
"""

import re
from pathlib import PurePosixPath

from sta_tsn.datasets.lists import inside, label_of, read_lines, without_repeats
from sta_tsn.datasets.records import Archive, OfficialSplit, VideoDataset, VideoRecord
from sta_tsn.errors import DatasetError


class UCF101(VideoDataset):
    """Read UCF101, see `VideoDataset`."""

    layout = (
        "  UCF-101/<Class>/v_<Class>_gXX_cXX.avi\n"
        "  ucfTrainTestlist/classInd.txt, trainlist01.txt, testlist01.txt, ... 03"
    )
    num_splits = 3
    published_classes = 101
    published_videos = 13_320
    published_splits = ((9537, 3783), (9586, 3734), (9624, 3696))
    page = "https://www.crcv.ucf.edu/data/UCF101.php"
    archives = (
        Archive(  # its checksum as TensorFlow Datasets has it
            "https://www.crcv.ucf.edu/data/UCF101/UCF101TrainTestSplits-RecognitionTask.zip",
            "sha256:5c0d1a53b8ed364a2ac830a73f405e51bece7d98ce1254fd19ed4a36b224bd27",
        ),
        Archive("https://www.crcv.ucf.edu/data/UCF101/UCF101.rar"),
    )

    def _read_classes(self) -> list[str]:
        classes: list[str] = []
        for place, line in read_lines(self.require("ucfTrainTestlist/classInd.txt")):
            number, _, name = line.partition(" ")
            if number != str(len(classes) + 1) or not name or " " in name or name in classes:
                raise DatasetError(
                    f"{place}: {line!r} is not '{len(classes) + 1} <Class>' with a new class"
                )
            classes.append(name)
        return classes

    def records(self, split: int) -> OfficialSplit:
        self.check_split(split)
        train = self._read_list(f"ucfTrainTestlist/trainlist{split:02d}.txt")
        test = self._read_list(f"ucfTrainTestlist/testlist{split:02d}.txt")
        return OfficialSplit(train, test)

    def _read_list(self, relative: str) -> list[VideoRecord]:
        lines = read_lines(self.require(relative))
        return without_repeats((place, self._record(line, place)) for place, line in lines)

    def _record(self, line: str, place: str) -> VideoRecord:
        name, _, number = line.partition(" ")
        parts = PurePosixPath(inside(name, place)).parts
        if len(parts) != 2:
            raise DatasetError(f"{place}: {name!r} is not <Class>/<clip>.avi")
        folder, file = parts
        label = label_of(folder, self.classes, place, "classInd.txt")
        if number and number.strip() != str(label + 1):
            raise DatasetError(
                f"{place}: label {number.strip()} for class {folder!r}, which classInd.txt "
                f"numbers {label + 1}"
            )
        stem = file.rpartition(".")[0]
        group = re.search(r"_(g\d+)_c\d+$", stem)
        if not group:
            raise DatasetError(f"{place}: {file!r} names no group (v_<Class>_gXX_cXX.avi)")
        path = self.root / "UCF-101" / name
        return VideoRecord(f"{folder}/{stem}", path, (label,), f"{folder}_{group[1]}")
