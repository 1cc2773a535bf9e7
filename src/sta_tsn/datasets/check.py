"""What a dataset's folder really holds, beside what its authors published: `make check-data`. Changes nothing."""

from collections import Counter, defaultdict
from pathlib import Path
from statistics import median

from sta_tsn.artefacts import file_fingerprint
from sta_tsn.datasets.manifest import Manifest, ManifestRow
from sta_tsn.datasets.records import VideoDataset, VideoRecord

SHOWN = 5  # names in the summary; the JSON has all


def check_dataset(dataset: VideoDataset, manifest: Manifest) -> dict:
    """Everything worth knowing before training, JSON-like.

    Args:
        manifest: frame counts of `dataset.listed()`.
    """
    records = dataset.listed()
    rows = {record.id: manifest.get(str(record.path.absolute())) for record in records}
    readable = [row for row in rows.values() if row and not row.reason]
    frames = [row.num_frames for row in readable]
    return {
        "dataset": dataset.name,
        "root": str(dataset.root.resolve()),
        "videos": {
            "listed": len(records),
            "published": dataset.published_videos,
            "present": sum(row is not None for row in rows.values()),
            "readable": len(readable),
        },
        "splits": [_split(dataset, split) for split in range(1, dataset.num_splits + 1)],
        "classes": _classes(dataset, records, rows),
        "frames": {
            "min": min(frames),
            "median": median(frames),
            "max": max(frames),
            "total": sum(frames),
        }
        if frames
        else {},
        "resolutions": _counted(
            f"{row.width_px}x{row.height_px}" for row in readable if row.width_px
        ),
        "fps": _counted(f"{row.fps:.4g}" for row in readable if row.width_px),
        "unreadable": {row.path: row.reason for row in rows.values() if row and row.reason},
        "remarks": {row.path: row.note for row in readable if row.note},
        "missing": [str(record.path) for record in records if rows[record.id] is None],
        "duplicates": _duplicates([row for row in rows.values() if row]),
    }


def _split(dataset: VideoDataset, split: int) -> dict:
    """Counts of one official split, and the groups that its authors have on both sides."""
    official = dataset.records(split)
    published = dataset.published_splits[split - 1] if dataset.published_splits else (None, None)
    shared = {record.group for record in official.train} & {
        record.group for record in official.test
    }
    return {
        "train": len(official.train), "val": len(official.val or []), "test": len(official.test),
        "published_train": published[0], "published_test": published[1], "groups_on_both_sides": len(shared),
    }  # fmt: skip


def _classes(
    dataset: VideoDataset, records: list[VideoRecord], rows: dict[str, ManifestRow | None]
) -> dict:
    labels = Counter(label for record in records for label in record.labels)
    usable = Counter(
        label
        for record in records
        if rows[record.id] and not rows[record.id].reason
        for label in record.labels
    )
    return {
        "number": len(dataset.classes),
        "published": dataset.published_classes,
        "label_range": [min(labels, default=None), max(labels, default=None)],
        "labels_out_of_range": sorted(
            label for label in labels if not 0 <= label < len(dataset.classes)
        ),
        "videos_per_class": [min(labels.values(), default=0), max(labels.values(), default=0)],
        "videos_without_label": sum(not record.labels for record in records),
        "videos_with_several_labels": sum(len(record.labels) > 1 for record in records),
        "without_readable_video": [
            name for label, name in enumerate(dataset.classes) if not usable[label]
        ],
    }


def _counted(values) -> dict[str, int]:
    return dict(Counter(values).most_common())


def _duplicates(rows: list[ManifestRow]) -> list[list[str]]:
    """Files with the same bytes, in sets of two or more; only files of one size are read."""
    by_size = defaultdict(list)
    for row in rows:
        if Path(row.path).is_file():  # not a folder of pictures
            by_size[row.size_bytes].append(row.path)
    by_content = defaultdict(list)
    for size, paths in by_size.items():
        for path in paths if len(paths) > 1 and size else ():
            by_content[file_fingerprint(path)].append(path)
    return [sorted(paths) for paths in by_content.values() if len(paths) > 1]


def summary(report: dict) -> str:
    """The report as text for a terminal."""
    videos, classes = report["videos"], report["classes"]
    lines = [f"{report['dataset']} in {report['root']}"]
    published = _published(videos["listed"], videos["published"])
    lines.append(
        f"  videos: {videos['listed']} listed{published}; {videos['present']} present, {videos['readable']} readable"
    )
    for number, split in enumerate(report["splits"], 1):
        sides = "/".join(
            str(split[side]) for side in ("train", "val", "test") if split[side] or side != "val"
        )
        ok = _published(
            (split["train"], split["test"]), (split["published_train"], split["published_test"])
        )
        shared = (
            f"; {split['groups_on_both_sides']} source videos (by name) on both sides"
            if split["groups_on_both_sides"]
            else ""
        )
        empty = "".join(
            f"; nothing to {verb}"
            for side, verb in (("train", "train on"), ("test", "test on"))
            if not split[side]
        )
        lines.append(
            f"  split {number}: {sides}{' train/val/test' if split['val'] else ' train/test'}{ok}{shared}{empty}"
        )
    (low, high), (fewest, most) = classes["label_range"], classes["videos_per_class"]
    published = _published(classes["number"], classes["published"])
    lines.append(
        f"  classes: {classes['number']}{published}, labels {low} to {high}, {fewest} to {most} listed videos each"
    )
    if classes["videos_without_label"] or classes["videos_with_several_labels"]:
        lines.append(
            f"  {classes['videos_without_label']} videos without label, {classes['videos_with_several_labels']} with several"
        )
    if report["frames"]:
        frames = report["frames"]
        lines.append(
            f"  frames that decode: {frames['min']} to {frames['max']}, median {frames['median']:g}, {frames['total']:,} in all"
        )
        for what in ("resolutions", "fps") if report["resolutions"] else ():  # skeletons have none
            common = ", ".join(
                f"{value} ({count})" for value, count in list(report[what].items())[:SHOWN]
            )
            lines.append(f"  {what}: {common}{', ...' if len(report[what]) > SHOWN else ''}")
    lines += _names("classes without a readable video", classes["without_readable_video"])
    lines += _names(
        "files with the same bytes", [" = ".join(paths) for paths in report["duplicates"]]
    )
    lines += _names(
        "unreadable", [f"{path}: {reason}" for path, reason in report["unreadable"].items()]
    )
    lines += _names(
        "used, with a remark", [f"{path}: {note}" for path, note in report["remarks"].items()]
    )
    lines += _names("missing", report["missing"])
    return "\n".join(lines)


def _published(found, published) -> str:
    if published is None or published == (None, None):
        return ""
    text = "/".join(map(str, published)) if isinstance(published, tuple) else published
    return ", as published" if found == published else f", but {text} are published"


def _names(title: str, names: list[str]) -> list[str]:
    more = [f"    ... and {len(names) - SHOWN} more"] if len(names) > SHOWN else []
    return (
        [f"  {title}: {len(names)}", *(f"    {name}" for name in names[:SHOWN]), *more]
        if names
        else []
    )
