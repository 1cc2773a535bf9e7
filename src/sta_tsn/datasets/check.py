"""What a dataset's folder really holds, beside what its authors published. Changes nothing."""

from collections import Counter, defaultdict
from pathlib import Path
from statistics import median

from sta_tsn.artefacts import file_fingerprint
from sta_tsn.datasets.manifest import Manifest, ManifestRow
from sta_tsn.datasets.records import VideoDataset, VideoRecord

SHOWN = 5  # names in the summary; the JSON has all


def check_dataset(dataset: VideoDataset, manifest: Manifest) -> dict:
    """Return everything worth knowing before training, JSON-like.

    Args:
        dataset: the folder that is looked at.
        manifest: frame counts of `dataset.listed()`.
    """
    records = dataset.listed()
    rows = {record.id: manifest.get(str(record.path.absolute())) for record in records}
    present = [row for row in rows.values() if row is not None]
    readable = [row for row in present if not row.reason]
    pictured = [row for row in readable if row.width_px]  # skeletons are not
    return {
        "dataset": dataset.name,
        "root": str(dataset.root.resolve()),
        "videos": {
            "listed": len(records),
            "published": dataset.published_videos,
            "present": len(present),
            "readable": len(readable),
        },
        "splits": [_split(dataset, split) for split in range(1, dataset.num_splits + 1)],
        "classes": _classes(dataset, records, rows),
        "frames": _frames([row.num_frames for row in readable]),
        "resolutions": _counted(f"{row.width_px}x{row.height_px}" for row in pictured),
        "fps": _counted(f"{row.fps:.4g}" for row in pictured),
        "unreadable": {row.path: row.reason for row in present if row.reason},
        "remarks": {row.path: row.note for row in readable if row.note},
        "missing": [str(record.path) for record in records if rows[record.id] is None],
        "duplicates": _duplicates(present),
    }


def _split(dataset: VideoDataset, split: int) -> dict:
    """Count one official split, and the groups that its authors have on both sides."""
    official = dataset.records(split)
    published = dataset.published_splits[split - 1] if dataset.published_splits else (None, None)
    learned = {record.group for record in official.train}
    tested = {record.group for record in official.test}
    return {
        "train": len(official.train),
        "val": len(official.val or []),
        "test": len(official.test),
        "published_train": published[0],
        "published_test": published[1],
        "groups_on_both_sides": len(learned & tested),
    }


def _classes(
    dataset: VideoDataset, records: list[VideoRecord], rows: dict[str, ManifestRow | None]
) -> dict:
    labels: Counter[int] = Counter()
    usable: Counter[int] = Counter()
    for record in records:
        labels.update(record.labels)
        row = rows[record.id]
        if row and not row.reason:
            usable.update(record.labels)
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


def _frames(counts: list[int]) -> dict:
    if not counts:
        return {}
    return {
        "min": min(counts),
        "median": median(counts),
        "max": max(counts),
        "total": sum(counts),
    }


def _counted(values) -> dict[str, int]:
    return dict(Counter(values).most_common())


def _duplicates(rows: list[ManifestRow]) -> list[list[str]]:
    """Find files with the same bytes, in sets of two or more; only files of one size are read."""
    by_size = defaultdict(list)
    for row in rows:
        if Path(row.path).is_file():  # not a folder of pictures
            by_size[row.size_bytes].append(row.path)
    by_content = defaultdict(list)
    for size, paths in by_size.items():
        if len(paths) > 1 and size:
            for path in paths:
                by_content[file_fingerprint(path)].append(path)
    return [sorted(paths) for paths in by_content.values() if len(paths) > 1]


def summary(report: dict) -> str:
    """Return the report as text for a terminal."""
    videos = report["videos"]
    published = _published(videos["listed"], videos["published"])
    lines = [
        f"{report['dataset']} in {report['root']}",
        f"  videos: {videos['listed']} listed{published}; {videos['present']} present, "
        f"{videos['readable']} readable",
    ]
    for number, split in enumerate(report["splits"], 1):
        lines.append(_split_line(number, split))
    lines += _class_lines(report["classes"])
    lines += _frame_lines(report)
    damaged = [f"{path}: {reason}" for path, reason in report["unreadable"].items()]
    remarks = [f"{path}: {note}" for path, note in report["remarks"].items()]
    duplicates = [" = ".join(paths) for paths in report["duplicates"]]
    lines += _names("classes without a readable video", report["classes"]["without_readable_video"])
    lines += _names("files with the same bytes", duplicates)
    lines += _names("unreadable", damaged)
    lines += _names("used, with a remark", remarks)
    lines += _names("missing", report["missing"])
    return "\n".join(lines)


def _split_line(number: int, split: dict) -> str:
    sides = ("train", "val", "test") if split["val"] else ("train", "test")
    counts = "/".join(str(split[side]) for side in sides)
    published = _published(
        (split["train"], split["test"]), (split["published_train"], split["published_test"])
    )
    line = f"  split {number}: {counts} {'/'.join(sides)}{published}"
    if split["groups_on_both_sides"]:
        line += f"; {split['groups_on_both_sides']} source videos (by name) on both sides"
    if not split["train"]:
        line += "; nothing to train on"
    if not split["test"]:
        line += "; nothing to test on"
    return line


def _class_lines(classes: dict) -> list[str]:
    low, high = classes["label_range"]
    fewest, most = classes["videos_per_class"]
    published = _published(classes["number"], classes["published"])
    lines = [
        f"  classes: {classes['number']}{published}, labels {low} to {high}, "
        f"{fewest} to {most} listed videos each"
    ]
    if classes["videos_without_label"] or classes["videos_with_several_labels"]:
        lines.append(
            f"  {classes['videos_without_label']} videos without label, "
            f"{classes['videos_with_several_labels']} with several"
        )
    return lines


def _frame_lines(report: dict) -> list[str]:
    frames = report["frames"]
    if not frames:
        return []
    lines = [
        f"  frames that decode: {frames['min']} to {frames['max']}, median {frames['median']:g}, "
        f"{frames['total']:,} in all"
    ]
    if report["resolutions"]:  # skeletons have none
        for what in ("resolutions", "fps"):
            found = list(report[what].items())
            common = ", ".join(f"{value} ({count})" for value, count in found[:SHOWN])
            lines.append(f"  {what}: {common}{', ...' if len(found) > SHOWN else ''}")
    return lines


def _published(found, published) -> str:
    if published is None or published == (None, None):
        return ""
    text = "/".join(map(str, published)) if isinstance(published, tuple) else published
    return ", as published" if found == published else f", but {text} are published"


def _names(title: str, names: list[str]) -> list[str]:
    if not names:
        return []
    lines = [f"  {title}: {len(names)}"]
    lines += [f"    {name}" for name in names[:SHOWN]]
    if len(names) > SHOWN:
        lines.append(f"    ... and {len(names) - SHOWN} more")
    return lines
