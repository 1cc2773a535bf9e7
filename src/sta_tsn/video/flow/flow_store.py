"""Optical flow of a dataset on disk: one file per video (`flow_files`), all made alike, from the videos as they are now."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from torch import Tensor

from sta_tsn.artefacts import fingerprint
from sta_tsn.datasets import VideoRecord
from sta_tsn.errors import UserError
from sta_tsn.video.flow.flow_files import is_source, read_about, write_flow

FLOW_STACK = 10  # consecutive flows that make one input of the network
SECONDS_ABANDONED = 3600


class FlowStore:
    """Flows of a dataset's videos below `root`: `<video id>.zip`, or TSN's folders `<video id>/` or, of the file's name without its
    ending, `<class>/<name>/` or `<name>/`.

    Args:
        root: folder of the store.
        settings: what a file must have been made with; None when reading whatever is there.
    """

    def __init__(self, root: str | Path, settings: dict | None = None):
        self.root, self.settings = Path(root), settings

    def file(self, record: VideoRecord) -> Path:
        return self.root / f"{record.id}.zip"

    def path(self, record: VideoRecord) -> Path:
        """The file, or TSN's folder, of a video."""
        path = self._find(record)
        if not path:
            raise UserError(
                f"No flow of {record.id} in {self.root.resolve()}: run make flow with the same DATASET and DATA first."
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
        return next(
            (path for path in places if path.is_file() or (path / "flow_x_00001.jpg").exists()),
            None,
        )

    def is_current(self, record: VideoRecord) -> bool:
        """Whether the video's flow is there, whole, made with these settings from the file as it is now."""
        try:
            return self._complaint(record) is None
        except UserError:
            return False

    def fingerprint(self, records: Sequence[VideoRecord]) -> str:
        """Changes with the flow of any of the videos."""
        abouts = [read_about(self.path(record)) for record in records]
        for about in abouts:
            if "sha256" in about.get("source", {}):
                del about["source"]["modified_ns"]  # of a copy it differs
        return fingerprint(
            [[record.id, about] for record, about in zip(records, abouts, strict=True)]
        )

    def write(self, record: VideoRecord, flows: Iterable[Tensor]) -> None:
        """Flows (2, H, W) in pixels, one pair of frames after the other; see `write_flow`."""
        write_flow(self.file(record), flows, self.settings, record.path)

    def clear_half_written(self) -> None:
        """Remove files that killed processes left, an hour later: another command may be writing beside this one."""
        for path in self.root.rglob(".*.zip"):
            with suppress(FileNotFoundError):  # it has just been finished
                if time.time() - path.stat().st_mtime > SECONDS_ABANDONED:
                    path.unlink()

    def check(self, records: Sequence[VideoRecord]) -> dict:
        """Every video has flow of its own, all made alike, from the files as they are now.

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
                f"Videos of one file name share the flow in {', '.join(shared[:5])}: name the folders <video id> instead."
            )
        if folders:
            return {}
        made = (about["settings"] for about in map(read_about, paths) if "settings" in about)
        like = FlowStore(self.root, self.settings or next(made, None))
        wrong = [
            f"  {path}: {text}"
            for path, record in zip(paths, records, strict=True)
            if (text := like._complaint(record))
        ]
        if wrong:
            raise UserError(
                f"Flow does not fit; run make flow again, it redoes what changed:\n{_first(wrong)}"
            )
        return like.settings or {}

    def check_folders(self, records: Sequence[VideoRecord]) -> bool:
        """Where one video's flow is a folder of TSN's pictures, so is every other's, whole: flow of two makers does not mix.

        Returns:
            Whether it is folders.

        Raises:
            UserError: naming the first that are not so.
        """
        found = {
            record.id: path for record in records if (path := self._find(record)) and path.is_dir()
        }
        wrong = [
            f"  {found[r.id]}: {text}"
            for r in records
            if r.id in found and (text := self._complaint(r))
        ]
        wrong += [
            f"  {record.id}: a .zip, or no folder of pictures"
            for record in records
            if record.id not in found
        ]
        if found and wrong:
            raise UserError(
                f"{self.root.resolve()} holds flow_x_00001.jpg, ... of another tool, which is not whole:\n{_first(wrong)}\n"
                "Complete it with that tool and delete any *.zip there, or move its folders away and run make flow."
            )
        return bool(found)

    def _complaint(self, record: VideoRecord) -> str | None:
        about = read_about(self.path(record))
        if "damaged" in about:
            return about["damaged"]
        if record.num_frames and about["pairs"] != record.num_frames - 1:
            return f"{about['pairs']} pairs for {record.num_frames} frames"
        if "settings" not in about:
            return None  # TSN's folder, of which no more is known
        if self.settings and (names := differing(self.settings, about["settings"])):
            return f"made with other settings ({names})"
        return None if is_source(about["source"], record.path) else "the video changed since"


def _first(lines: list[str]) -> str:
    return "\n".join(lines[:5] + ([f"  ... and {len(lines) - 5} more"] if len(lines) > 5 else []))


def differing(one: dict, other: dict) -> str:
    """The settings of flow that are not the same in both, by name; "" where all are. {}: of another tool, see `FlowStore.check`."""
    if not (one and other):
        return "" if one == other else "another tool's"
    one, other = (
        {**settings, **settings.get("tvl1", {}), "tvl1": None} for settings in (one, other)
    )
    return ", ".join(sorted(key for key in one | other if one.get(key) != other.get(key)))
