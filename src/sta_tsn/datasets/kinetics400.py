"""Kinetics-400: 400 classes, about 240,000 training and 20,000 validation clips of 10 s.

They are cut from YouTube. Layout: `annotations/train.csv`, `val.csv` (columns label, youtube_id,
time_start, time_end, split) and the clips `train/` and `val/` as `<youtube_id>_<start>_<end>.mp4`
with six-digit seconds, flat as CVDF's archives unpack or in class folders. One split by the
dataset's authors; as everywhere in the field, models are tested on its validation part, and
validation is carved out of training. Group = the YouTube video. What is counted is what the
annotation files list: videos vanish from YouTube, so copies differ. Citation: Kay, Carreira et al.,
"The Kinetics Human Action Video Dataset", arXiv 1705.06950, 2017. Archives and licence (CC BY 4.0
for the annotations): https://github.com/cvdfoundation/kinetics-dataset
"""

from functools import cache
from pathlib import Path

from sta_tsn.datasets.lists import inside, label_of, read_table, without_repeats
from sta_tsn.datasets.records import OfficialSplit, VideoDataset, VideoRecord
from sta_tsn.errors import DatasetError

# What the column `split` says of each part.
PARTS = {
    "train": ("train",),
    "val": ("val", "validate", "validation"),
}
COLUMNS = ("label", "youtube_id", "time_start", "time_end")


class Kinetics400(VideoDataset):
    """Read Kinetics-400, see `VideoDataset`."""

    published_classes = 400
    page = "https://github.com/cvdfoundation/kinetics-dataset"
    by_hand = (
        "  annotations/train.csv and val.csv (https://s3.amazonaws.com/kinetics/400/annotations/)\n"
        "  the videos, 450 GB in 300 archives: the scripts on the page fetch and unpack them"
    )
    layout = (
        "  annotations/train.csv, val.csv\n"
        "  {train,val}/<youtube_id>_<start>_<end>.mp4, or {train,val}/<class>/..."
    )

    def _read_classes(self) -> list[str]:
        rows = read_table(self.require("annotations/train.csv"), COLUMNS)
        return sorted({row["label"] for _, row in rows})

    def records(self, split: int) -> OfficialSplit:
        self.check_split(split)
        return OfficialSplit(train=self._read_part("train"), test=self._read_part("val"))

    def _read_part(self, part: str) -> list[VideoRecord]:
        """Return the videos of train or val."""
        table = self.require(f"annotations/{part}.csv")
        entries = []
        for place, row in read_table(table, COLUMNS):
            entries.append((place, self._record(part, row, place)))
        return without_repeats(entries)

    def _record(self, part: str, row: dict[str, str], place: str) -> VideoRecord:
        label = label_of(row["label"], self.classes, place, "annotations/train.csv")
        if row.get("split", part) not in PARTS[part]:
            raise DatasetError(f"{place}: split {row['split']!r} in the list of {part}")
        try:
            start = int(float(row["time_start"]))
            end = int(float(row["time_end"]))
        except (ValueError, OverflowError) as error:  # no number, infinity
            raise DatasetError(
                f"{place}: {row['time_start']!r} to {row['time_end']!r} are not seconds"
            ) from error
        if not 0 <= start < end:
            raise DatasetError(f"{place}: a clip from second {start} to {end}")
        source = row["youtube_id"]
        file = f"{inside(source, place)}_{start:06d}_{end:06d}.mp4"
        folder = self.root / part
        path = files_by_name(folder).get(file, folder / file)
        return VideoRecord(f"{part}/{path.stem}", path, (label,), group=source)


@cache
def files_by_name(folder: Path) -> dict[str, Path]:
    """Return where each .mp4 below `folder` lies, at any depth."""
    return {path.name: path for path in folder.rglob("*.mp4")}
