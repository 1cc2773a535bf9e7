"""Something-Something: 174 classes of hands doing something, told apart by order in time.

V1: 108,499 videos as folders of numbered JPEG pictures, 12 a second, height 100:
`20bn-something-something-v1/<id>/00001.jpg`, lists `something-something-v1-labels.csv` (a class a
line) and `-train.csv`, `-validation.csv` (`<id>;<class>`); 86,017 training and 11,522 validation
videos.

V2: 220,847 videos `20bn-something-something-v2/<id>.webm`, height 240, 12 a second; lists
`something-something-v2-labels.json`, `-train.json`, `-validation.json`, or the same three in
`labels/` as the archive of 2022 has them (labels.json, train.json, validation.json); 168,913
training and 24,777 validation videos.

One split by the dataset's authors; the test labels are not public, so models are tested on the
validation part, and validation is carved out of training. Every video is a group of its own: who
filmed it is not published. Citation: Goyal et al., "The 'Something Something' Video Database for
Learning and Evaluating Visual Common Sense", ICCV 2017. Page, archives and licence (registration;
research only):
https://www.qualcomm.com/developer/software/something-something-v-2-dataset
"""

from sta_tsn.datasets.lists import inside, label_of, read_json_list, read_lines, without_repeats
from sta_tsn.datasets.records import OfficialSplit, VideoDataset, VideoRecord
from sta_tsn.errors import DatasetError

PAGE = "https://www.qualcomm.com/developer/software/something-something-v-2-dataset"


class SomethingV1(VideoDataset):
    """Read version 1, see `VideoDataset`; a video's path is its folder of pictures."""

    page = PAGE
    by_hand = "  the lists and the 25 parts of the videos, after registration"
    layout = (
        "  20bn-something-something-v1/<id>/00001.jpg, ...\n"
        "  something-something-v1-labels.csv, -train.csv, -validation.csv"
    )
    published_classes = 174
    published_videos = 86_017 + 11_522
    published_splits = ((86_017, 11_522),)

    def _read_classes(self) -> list[str]:
        classes: list[str] = []
        for place, line in read_lines(self.require("something-something-v1-labels.csv")):
            if line in classes:
                raise DatasetError(
                    f"{place}: class {line!r} is listed already (line {classes.index(line) + 1})"
                )
            classes.append(line)
        return classes

    def records(self, split: int) -> OfficialSplit:
        self.check_split(split)
        return OfficialSplit(train=self._read_part("train"), test=self._read_part("validation"))

    def _read_part(self, part: str) -> list[VideoRecord]:
        entries = []
        for place, line in read_lines(self.require(f"something-something-v1-{part}.csv")):
            name, semicolon, action = line.partition(";")
            if not semicolon:
                raise DatasetError(f"{place}: {line!r} is not '<id>;<class>'")
            label = label_of(action, self.classes, place, "something-something-v1-labels.csv")
            path = self.root / "20bn-something-something-v1" / inside(name, place)
            entries.append((place, VideoRecord(name, path, (label,), group=name)))
        return without_repeats(entries)


class SomethingV2(VideoDataset):
    """Read version 2, see `VideoDataset`."""

    page = PAGE
    by_hand = "  the lists and the 20 parts of the videos, after registration"
    layout = (
        "  20bn-something-something-v2/<id>.webm\n"
        "  labels/labels.json, train.json, validation.json (or something-something-v2-*.json)"
    )
    published_classes = 174
    published_videos = 168_913 + 24_777
    published_splits = ((168_913, 24_777),)

    def _list(self, part: str):
        older = f"something-something-v2-{part}.json"
        path = self.require(older if (self.root / older).exists() else f"labels/{part}.json")
        return path, read_json_list(path)

    def _read_classes(self) -> list[str]:
        path, numbers = self._list("labels")
        is_numbered = isinstance(numbers, dict) and sorted(map(str, numbers.values())) == sorted(
            str(number) for number in range(len(numbers))
        )
        if not is_numbered:
            raise DatasetError(f'{path} is not {{"<class>": "<number from 0>", ...}}')
        return sorted(numbers, key=lambda name: int(numbers[name]))

    def records(self, split: int) -> OfficialSplit:
        self.check_split(split)
        return OfficialSplit(train=self._read_part("train"), test=self._read_part("validation"))

    def _read_part(self, part: str) -> list[VideoRecord]:
        path, videos = self._list(part)
        if not isinstance(videos, list) or not videos:
            raise DatasetError(
                f'{path} is not a list of {{"id": ..., "template": ...}}, one at least'
            )
        entries = []
        for number, video in enumerate(videos, 1):
            place = f"{path}, video {number}"
            try:
                name = str(video["id"])
                action = video["template"].replace("[", "").replace("]", "")
            except (TypeError, KeyError, AttributeError) as error:
                raise DatasetError(f'{place}: {video!r} has no "id" and "template"') from error
            label = label_of(action, self.classes, place, "the list of labels")
            file = self.root / "20bn-something-something-v2" / f"{inside(name, place)}.webm"
            entries.append((place, VideoRecord(name, file, (label,), group=name)))
        return without_repeats(entries)
