"""THUMOS14 (recognition): untrimmed videos with several labels, learned from UCF101.

It trains on all of UCF101, validates on 1,010 and tests on 1,574 videos. Layout:
`validation/video_validation_*.mp4`, `TH14_test_set_mp4/video_test_*.mp4`, the labels in
`validation_set_meta/validation_set.mat` and `test_set_meta/test_set.mat`, and, as ground truth for
key frames of 20 classes,
`TH14_Temporal_annotations_{validation,test}/annotation/<Class>_{val,test}.txt` with lines `<video>
<start> <end>` in seconds. A video's labels are its primary and secondary actions; 480 of the test
videos are background: they have no label (the primary action in the file is the one they resemble),
are left out of accuracy and count as negatives in mAP. Split by the challenge's organisers.
Citation: Jiang, Liu, Roshan Zamir, Toderici, Laptev, Shah, Sukthankar, "THUMOS Challenge: Action
Recognition with a Large Number of Classes", 2014. Page and terms:
https://www.crcv.ucf.edu/THUMOS14
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sta_tsn.datasets.lists import inside, label_of, read_lines, without_repeats
from sta_tsn.datasets.records import Archive, OfficialSplit, VideoDataset, VideoRecord
from sta_tsn.datasets.ucf101 import UCF101
from sta_tsn.errors import DatasetError

ORGANISERS = "https://www.crcv.ucf.edu/THUMOS14"
FIELDS = {
    "video_name",
    "primary_action",
    "primary_action_index",
    "secondary_actions",
    "secondary_actions_indices",
    "frame_rate_FPS",
}


@dataclass(frozen=True)
class Interval:
    """Say when a video shows a class; `label` is 0-based, None for an ambiguous instance."""

    label: int | None
    start_sec: float
    end_sec: float


class THUMOS14(VideoDataset):
    """Read THUMOS14, see `VideoDataset`.

    Args:
        root: folder of THUMOS14.
        ucf101: folder of UCF101, whose clips are the training set; `ucf101` beside `root` where
            None.
    """

    layout = (
        "  validation/video_validation_*.mp4, TH14_test_set_mp4/video_test_*.mp4\n"
        "  validation_set_meta/validation_set.mat, test_set_meta/test_set.mat\n"
        "  TH14_Temporal_annotations_{validation,test}/annotation/*.txt (to score attention)\n"
        "and UCF101 in ../ucf101, or where data.dataset.init_args.ucf101 says"
    )
    published_classes = 101
    published_videos = 13_320 + 1010 + 1574
    published_splits = ((13_320, 1574),)
    page = "https://www.crcv.ucf.edu/THUMOS14/download.html"
    archives = (
        Archive(f"{ORGANISERS}/Validation_set/validation_set_meta.zip"),
        Archive(
            f"{ORGANISERS}/Validation_set/TH14_Temporal_annotations_validation.zip",
            folder="TH14_Temporal_annotations_validation",
        ),
        Archive(
            f"{ORGANISERS}/test_set/TH14_Temporal_annotations_test.zip",
            folder="TH14_Temporal_annotations_test",
        ),
        Archive("https://storage.googleapis.com/thumos14_files/TH14_validation_set_mp4.zip"),
    )
    by_hand = (
        "  the labels of the test videos (test_set_meta.zip)\n"
        "  the test videos, TH14_Test_set_mp4.zip: its password is sent when the form on the page "
        "is filled in\n"
        "  UCF101, which is a dataset of its own (ucf101)"
    )

    def __init__(self, root: str, ucf101: str | None = None):
        self._ucf101_root = ucf101
        super().__init__(root)

    def _read_classes(self) -> list[str]:
        self.ucf101 = UCF101(self._ucf101_root or str(self.root.resolve().parent / "ucf101"))
        return self.ucf101.classes

    def records(self, split: int) -> OfficialSplit:
        self.check_split(split)
        val = self._read_set(
            "validation_set_meta/validation_set.mat", "validation_videos", "validation"
        )
        test = self._read_set("test_set_meta/test_set.mat", "test_videos", "TH14_test_set_mp4")
        return OfficialSplit(train=self.ucf101.listed(), val=val, test=test)

    def key_frames(self, record: VideoRecord) -> np.ndarray | None:
        """Return which frames lie inside an interval of one of the video's classes.

        Ambiguous instances count as none.
        """
        annotated = self.intervals.get(record.path.stem, ())
        intervals = [interval for interval in annotated if interval.label in record.labels]
        if not intervals:
            return None
        times = (np.arange(record.num_frames) + 0.5) / self._fps[record.path.stem]
        inside_any = np.zeros(len(times), bool)
        for one in intervals:
            inside_any |= (times >= one.start_sec) & (times <= one.end_sec)
        return inside_any

    @cached_property
    def intervals(self) -> dict[str, list[Interval]]:
        """Return annotated instances by video name; {} where they were not unpacked."""
        found: dict[str, list[Interval]] = {}
        for part, suffix in (("validation", "_val"), ("test", "_test")):
            folder = self.root / f"TH14_Temporal_annotations_{part}"
            for path in sorted(folder.rglob(f"annotation/*{suffix}.txt")):
                name = path.stem.removesuffix(suffix)
                label = None
                if name != "Ambiguous":
                    label = label_of(name, self.classes, str(path), "UCF101's classInd.txt")
                for place, line in read_lines(path):
                    video, interval = _interval(line, label, place)
                    found.setdefault(video, []).append(interval)
        return found

    @cached_property
    def _fps(self) -> dict[str, float]:
        files = (
            ("validation_set_meta/validation_set.mat", "validation_videos"),
            ("test_set_meta/test_set.mat", "test_videos"),
        )
        rates = {}
        for relative, variable in files:
            for video in self._load(relative, variable):
                rates[video["video_name"]] = float(video["frame_rate_FPS"])
        return rates

    def _load(self, relative: str, variable: str) -> list[dict]:
        from scipy.io import loadmat

        path = self.require(relative)
        try:
            videos = np.atleast_1d(loadmat(path, simplify_cells=True)[variable]).tolist()
            assert all(video.keys() >= FIELDS for video in videos), (
                f"every video has {', '.join(sorted(FIELDS))}"
            )
        except Exception as error:  # scipy raises KeyError to struct.error on a damaged file
            raise DatasetError(
                f"{path}: no list {variable!r} can be read from it ({error}); "
                "unpack the archive again"
            ) from error
        return videos

    def _read_set(self, relative: str, variable: str, folder: str) -> list[VideoRecord]:
        """Return the videos that a list of MATLAB's names, which lie in `folder`."""
        list_file = self.root / relative
        entries = []
        for number, video in enumerate(self._load(relative, variable), 1):
            place = f"{list_file}, video {number}"
            name = inside(str(video["video_name"]), place)
            path = self.root / folder / f"{name}.mp4"
            labels = self._labels(video, place)
            record = VideoRecord(f"{folder}/{name}", path, labels, group=name)
            entries.append((place, record))
        return without_repeats(entries)

    def _labels(self, video: dict, place: str) -> tuple[int, ...]:
        """Return a video's labels, 0-based, the primary one first.

        The file's indices are 1-based and must agree with its names.
        """
        if video.get("background_video") == "YES":
            return ()
        names = [video["primary_action"], *np.atleast_1d(video["secondary_actions"])]
        numbers = [
            video["primary_action_index"],
            *np.atleast_1d(video["secondary_actions_indices"]),
        ]
        labels = [
            label_of(str(name), self.classes, place, "UCF101's classInd.txt") for name in names
        ]
        if [label + 1 for label in labels] != [int(number) for number in numbers]:
            raise DatasetError(
                f"{place}: classes {[str(name) for name in names]} "
                f"with indices {[int(number) for number in numbers]}"
            )
        return tuple(dict.fromkeys(labels))


def _interval(line: str, label: int | None, place: str) -> tuple[str, Interval]:
    try:
        video, start, end = line.split()
        interval = Interval(label, float(start), float(end))
    except ValueError as error:
        raise DatasetError(
            f"{place}: {line!r} is not '<video> <start> <end>' in seconds"
        ) from error
    if not 0 <= interval.start_sec <= interval.end_sec:
        raise DatasetError(f"{place}: {line!r} ends before it starts")
    return video, interval
