"""Optical flow of a dataset on disk: one file per video (`flow_files`).

All are made alike, from the videos as they are now.
"""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

from torch import Tensor

from sta_tsn.artefacts import fingerprint
from sta_tsn.datasets import VideoRecord
from sta_tsn.errors import UserError
from sta_tsn.video.flow.flow_files import is_source, read_about, write_flow

FLOW_STACK = 10  # consecutive flows that make one input of the network
SECONDS_ABANDONED = 3600


class FlowStore:
    """Keep the flows of a dataset's videos below `root`.

    They are in `<video id>.zip`, or in TSN's folders `<video id>/` or, of the file's name without
    its ending, `<class>/<name>/` or `<name>/`.

    Args:
        root: folder of the store.
        settings: what a file must have been made with; None when reading whatever is there.
    """

    def __init__(self, root: str | Path, settings: dict | None = None):
        self.root = Path(root)
        self.settings = settings

    def file(self, record: VideoRecord) -> Path:
        """Return where the video's flow is written."""
        return self.root / f"{record.id}.zip"

    def path(self, record: VideoRecord) -> Path:
        """Return the file, or TSN's folder, of a video.

        Raises:
            UserError: there is none.
        """
        path = self._find(record)
        if not path:
            raise UserError(
                f"No flow of {record.id} in {self.root.resolve()}: run make flow for this dataset "
                "first."
            )
        return path

    def _find(self, record: VideoRecord) -> Path | None:
        named = self.root / record.id
        places = (
            self.file(record),
            named,
            named.with_name(record.path.stem),
            self.root / record.path.stem,
        )
        for path in places:
            if path.is_file() or (path / "flow_x_00001.jpg").exists():
                return path
        return None

    def is_current(self, record: VideoRecord) -> bool:
        """Return whether the video's flow is there, whole.

        It has to be made with these settings from the file as it is now.
        """
        try:
            return self._complaint(record) is None
        except UserError:
            return False

    def fingerprint(self, records: Sequence[VideoRecord]) -> str:
        """Return what changes with the flow of any of the videos."""
        made = []
        for record in records:
            about = read_about(self.path(record))
            if "sha256" in about.get("source", {}):
                del about["source"]["modified_ns"]  # of a copy it differs
            made.append([record.id, about])
        return fingerprint(made)

    def write(self, record: VideoRecord, flows: Iterable[Tensor]) -> None:
        """Write flows (2, H, W) in pixels, one pair of frames after the other; see `write_flow`."""
        write_flow(self.file(record), flows, self.settings, record.path)

    def clear_half_written(self) -> None:
        """Remove files that killed processes left, an hour later.

        Another command may be writing beside this one. The hour is that of the disk: on a shared
        one the clocks of machines need not agree.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=self.root, prefix=".now") as just_written:
            now = os.fstat(just_written.fileno()).st_mtime
        for path in self.root.rglob(".*.zip"):
            with suppress(FileNotFoundError):  # it has just been finished
                if now - path.stat().st_mtime > SECONDS_ABANDONED:
                    path.unlink()

    def check(self, records: Sequence[VideoRecord]) -> dict:
        """Check that every video has flow of its own, all made alike, from the files as they are.

        Returns:
            The settings that made it; {} for another tool's, of which no more is known.

        Raises:
            UserError: naming the first videos that do not, and what to do.
        """
        folders = self.check_folders(records)
        paths = [self.path(record) for record in records]
        shared = [str(path) for path, count in Counter(paths).items() if count > 1]
        if shared:
            raise UserError(
                f"Videos of one file name share the flow in {', '.join(shared[:5])}: name the "
                "folders <video id> instead."
            )
        if folders:
            return {}
        like = FlowStore(self.root, self.settings or _first_settings(paths))
        wrong = []
        for path, record in zip(paths, records, strict=True):
            complaint = like._complaint(record)
            if complaint:
                wrong.append(f"  {path}: {complaint}")
        if wrong:
            raise UserError(
                f"Flow does not fit; run make flow again, it redoes what changed:\n{_first(wrong)}"
            )
        return like.settings or {}

    def check_folders(self, records: Sequence[VideoRecord]) -> bool:
        """Return whether the flow is in folders of TSN's pictures.

        Where one video's is, so is every other's, whole: flow of two makers does not mix.

        Raises:
            UserError: naming the first that are not so.
        """
        any_folder = False
        damaged = []
        others = []
        for record in records:
            path = self._find(record)
            if path is None or not path.is_dir():
                others.append(f"  {record.id}: a .zip, or no folder of pictures")
                continue
            any_folder = True
            complaint = self._complaint(record)
            if complaint:
                damaged.append(f"  {path}: {complaint}")
        wrong = damaged + others
        if any_folder and wrong:
            raise UserError(
                f"{self.root.resolve()} holds flow_x_00001.jpg, ... of another tool, which is not "
                f"whole:\n{_first(wrong)}\nComplete it with that tool and delete any *.zip there, "
                "or move its folders away and run make flow."
            )
        return any_folder

    def _complaint(self, record: VideoRecord) -> str | None:
        """Return what is wrong with a video's flow, None where nothing is."""
        about = read_about(self.path(record))
        if "damaged" in about:
            return about["damaged"]
        if record.num_frames and about["pairs"] != record.num_frames - 1:
            return f"{about['pairs']} pairs for {record.num_frames} frames"
        if "settings" not in about:
            return None  # TSN's folder, of which no more is known
        names = differing(self.settings, about["settings"]) if self.settings else ""
        if names:
            return f"made with other settings ({names})"
        return None if is_source(about["source"], record.path) else "the video changed since"


def _first_settings(paths: Iterable[Path]) -> dict | None:
    for about in map(read_about, paths):
        if "settings" in about:
            return about["settings"]
    return None


def _first(lines: list[str]) -> str:
    shown = lines[:5]
    if len(lines) > 5:
        shown.append(f"  ... and {len(lines) - 5} more")
    return "\n".join(shown)


def differing(one: dict, other: dict) -> str:
    """Return the names of the settings of flow that are not the same in both; "" where all are.

    {} stands for another tool's, see `FlowStore.check`.
    """
    if not (one and other):
        return "" if one == other else "another tool's"
    one = _flat(one)
    other = _flat(other)
    return ", ".join(sorted(key for key in one | other if one.get(key) != other.get(key)))


def _flat(settings: dict) -> dict:
    return {**settings, **settings.get("tvl1", {}), "tvl1": None}
