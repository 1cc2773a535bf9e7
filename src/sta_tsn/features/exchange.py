"""Features made elsewhere, taken into a store, and a store's features given away in the same form.

The form is a folder with `features.csv` and a file for each video. The table's columns are `path`
(relative to the folder), `labels` (several with `;` between them), and if you like `group` (the
recording a clip was cut from), `split` (`train`, `val` or `test`; or `split1`, `split2`, ... for
several), and what made the features: `encoder`, `frames_per_sec`, `preprocessing`. Files are
`.npy`, `.npz` or `.safetensors` and hold one array `features`, (T, D) or (T, H, W, D), T frames or
time steps of a clip encoder; `.npz` and `.safetensors` may hold `frame_indices` (T,) beside it.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from sta_tsn.artefacts import DAMAGED, atomic, fingerprint, first_line, read_json, write_json
from sta_tsn.datasets import VideoRecord
from sta_tsn.datasets.lists import inside, label_of, read_table
from sta_tsn.datasets.records import hold_out_groups
from sta_tsn.errors import DatasetError
from sta_tsn.features.feature_store import STORE_FILE, FeatureStore
from sta_tsn.features.tensor_files import read_about, save_tensors
from sta_tsn.video import SegmentSampler

TABLE = "features.csv"
SIDES = ("train", "val", "test")
MADE_BY = ("encoder", "frames_per_sec", "preprocessing")
FRAMES_WHERE_THEY_DIFFER = (3, 10)  # the paper's; videos have different numbers of steps
NUM_RANDOM_SPLITS = 3
TEST_SHARE = 0.25
Form = Literal["npy", "npz", "safetensors"]


@dataclass(frozen=True)
class ListedFile:
    """One row of the table.

    Attributes:
        id: the path without its suffix.
        path: of the file.
        place: of the row, for messages.
        labels: class names.
        group: recording.
        sides: train, val or test by the number of the split; empty where the table says nothing.
    """

    id: str
    path: Path
    place: str
    labels: tuple[str, ...]
    group: str
    sides: dict[str, str] = field(default_factory=dict)


def import_features(
    folder: Path, store: Path, dataset: str, made_by: dict[str, str], frames: Sequence[int] | None
) -> None:
    """Check a folder of features and write them as a store, of which heads can be trained.

    Args:
        folder: in the form that this file describes.
        store: folder to write to.
        dataset: what the videos are called together.
        made_by: encoder, frames_per_sec, preprocessing, where the table does not say.
        frames: segments x frames of each that are stored of a video, spread evenly over its T.
            None: 1 x T where all have as many, else 3 x 10.

    Raises:
        DatasetError: naming the row or the file, what is wrong with it and what to do.
    """
    files, told = _read_rows(folder)
    made_by = {**made_by, **told}
    if not made_by.get("encoder"):
        raise DatasetError(
            f"{folder / TABLE} does not say what made the features: add a column encoder, or give "
            "--encoder."
        )
    shapes = [_shape(file) for file in files]
    kept = _check_shapes(files, shapes)
    lengths = {shape[0] for shape in shapes}
    if frames is None:
        frames = (1, *lengths) if len(lengths) == 1 else FRAMES_WHERE_THEY_DIFFER
    named: set[str] = set()
    for file in files:
        named.update(file.labels)
    classes = sorted(named)
    splits = _splits(files, classes, folder)
    about = {
        "encoder": made_by,
        "crops": 1,
        "kept": kept,
        "dataset": dataset,
        "classes": classes,
        "frames": list(frames),
        "videos": [_listed(file, classes) for file in files],
        "splits": splits,
    }
    _check_former(store, about)
    target = FeatureStore(store)
    sampler = SegmentSampler(*frames)
    from rich.progress import track

    for file in track(files, "Importing features"):
        _import_file(file, target, "features" if kept == "pooled" else "maps", sampler)
    write_json(store / STORE_FILE, about)


def _read_rows(folder: Path) -> tuple[list[ListedFile], dict[str, str]]:
    """Return the table's rows, and what it says made the features."""
    if not (folder / TABLE).exists():
        raise DatasetError(
            f"{folder.resolve()} holds no {TABLE} with the columns path,labels,group,split."
        )
    rows = read_table(folder / TABLE, ("path",), any_form=True)
    told = _made_by(rows)
    files: list[ListedFile] = []
    first: dict[str, str] = {}
    for place, row in rows:
        file = _row(folder, place, row)
        if file.id in first:
            raise DatasetError(f"{place}: {row['path']} is listed already ({first[file.id]})")
        first[file.id] = place
        files.append(file)
    return files, told


def _made_by(rows: list[tuple[str, dict[str, str]]]) -> dict[str, str]:
    """Return encoder, frames a second and preprocessing, which must be the same in every row."""
    told = {}
    for name in MADE_BY:
        values: dict[str, str] = {}
        for place, row in rows:
            values.setdefault(row.get(name, ""), place)
        if len(values) > 1:
            (one, place), (other, other_place) = list(values.items())[:2]
            raise DatasetError(
                f"{other_place}: {name} is {other!r}, in {place} it is {one!r}. What is learned on "
                "features of one making says nothing on those of another: import them apart."
            )
        if "" not in values:
            told[name] = next(iter(values))
    return told


def _row(folder: Path, place: str, row: dict[str, str]) -> ListedFile:
    path = inside(row["path"].replace("\\", "/"), place, may_hold_colons=True)
    if not (folder / path).is_file():
        raise DatasetError(f"{place}: there is no file {folder / path}. Add it, or drop the row.")
    if Path(path).suffix not in (".npy", ".npz", ".safetensors"):
        raise DatasetError(f"{place}: {path} is no .npy, .npz or .safetensors file.")
    written = row.get("labels", row.get("label", ""))
    labels = tuple(name.strip() for name in written.split(";") if name.strip())
    if not labels:
        raise DatasetError(f"{place}: {path} has no label (column labels).")
    sides = {}
    for column, side in row.items():
        number = column.removeprefix("split") or "1"
        if column.startswith("split") and number.isdigit() and side:
            sides[number] = "val" if side.lower() == "validation" else side.lower()
            if sides[number] not in SIDES:
                raise DatasetError(f"{place}: {column} {side!r} is not train, val or test.")
    name = str(Path(path).with_suffix(""))
    return ListedFile(name, folder / path, place, labels, row.get("group") or name, sides)


def _splits(files: Sequence[ListedFile], classes: list[str], folder: Path) -> dict[str, dict]:
    """Return the sides of every split as a store keeps them; random ones where none is told."""
    told: set[str] = set()
    for file in files:
        told.update(file.sides)
    numbers = sorted(told, key=int)
    splits: dict[str, dict] = {}
    for number in numbers:
        sides: dict[str, list[str]] = {side: [] for side in SIDES}
        for file in files:
            if number in file.sides:  # several splits need not use every video
                sides[file.sides[number]].append(file.id)
        splits[number] = {**sides, "missing": 0}
        _check_sides(number, [file for file in files if number in file.sides])
    if numbers:
        return splits
    records = [
        VideoRecord(file.id, file.path, tuple(map(classes.index, file.labels)), file.group)
        for file in files
    ]
    for split in range(1, NUM_RANDOM_SPLITS + 1):
        train, test = hold_out_groups(records, TEST_SHARE, split, smallest_first=False)
        sides = {"train": [one.id for one in train], "val": [], "test": [one.id for one in test]}
        splits[str(split)] = {**sides, "missing": 0}
    if not splits["1"]["test"]:
        raise DatasetError(
            f"{folder / TABLE}: no class has two groups, so none can be held out for testing; add "
            "a column split, or groups."
        )
    return splits


def _check_sides(number: str, files: Sequence[ListedFile]) -> None:
    """Raise where a split has an empty side or a label that is not learned.

    Groups on both sides are said, not refused: JHMDB's official lists have some.
    """
    for side in ("train", "test"):
        if not any(file.sides[number] == side for file in files):
            raise DatasetError(f"{files[0].path.parent}: split {number} has no {side} videos.")
    learned: set[str] = set()
    tested_groups: set[str] = set()
    other_groups: set[str] = set()
    for file in files:
        side = file.sides[number]
        if side == "train":
            learned.update(file.labels)
        groups = tested_groups if side == "test" else other_groups
        groups.add(file.group)
    divided = sorted(other_groups & tested_groups)
    for file in files:
        for name in file.labels:
            label_of(name, sorted(learned), file.place, "the training rows")
    if divided:
        print(
            f"Split {number}: {len(divided)} groups have videos to learn from and to test "
            f"({', '.join(divided[:3])}{', ...' if len(divided) > 3 else ''}), as some official "
            "lists have; the test is that much easier."
        )


def _shape(file: ListedFile) -> tuple[int, ...]:
    """Return the shape of a file's features, without reading them where that can be."""
    if file.path.suffix == ".npy":
        try:
            return np.load(file.path, mmap_mode="r").shape
        except (OSError, *DAMAGED) as error:
            raise _unreadable(file, error) from error
    return _read_file(file)["features"].shape


def _check_shapes(files: Sequence[ListedFile], shapes: Sequence[tuple[int, ...]]) -> str:
    """Return what the features are, `pooled` or `map`; raise where they do not fit each other."""
    for file, shape in zip(files, shapes, strict=True):
        if len(shape) not in (2, 4) or 0 in shape:
            raise DatasetError(
                f"{file.path}: features are (T, D) or (T, H, W, D), these are {tuple(shape)}. Take "
                "the batch axis off, or the class token out."
            )
        if shape[1:] != shapes[0][1:]:
            raise DatasetError(
                f"{file.path}: a frame has features {tuple(shape[1:])}, in {files[0].path} it has "
                f"{tuple(shapes[0][1:])}. All must come from one encoder with one input size."
            )
    return "pooled" if len(shapes[0]) == 2 else "map"


def _read_file(file: ListedFile) -> dict[str, np.ndarray]:
    """Return `features` and, where it is there, `frame_indices`."""
    try:
        if file.path.suffix == ".npy":
            return {"features": np.load(file.path)}
        if file.path.suffix == ".npz":
            with np.load(file.path) as opened:
                arrays = {name: opened[name] for name in opened.files}
        else:
            arrays = load_file(file.path)
    except (OSError, SafetensorError, *DAMAGED) as error:
        raise _unreadable(file, error) from error
    if len(arrays) == 1:
        return {"features": next(iter(arrays.values()))}
    if "features" not in arrays:
        names = ", ".join(sorted(arrays))
        raise DatasetError(f"{file.path} holds {names}: call the features `features`.")
    return arrays


def _unreadable(file: ListedFile, error: Exception) -> DatasetError:
    return DatasetError(f"{file.path} cannot be read ({first_line(error)}). Write it again.")


def _import_file(file: ListedFile, store: FeatureStore, name: str, sampler: SegmentSampler) -> None:
    """Write one video's features, unless they are there already."""
    state = file.path.stat()
    grid = [sampler.num_segments, sampler.frames_per_segment]
    about = {"made_of": fingerprint([state.st_size, state.st_mtime_ns, grid])}
    if read_about(store.path(file.id)) == about:
        return
    arrays = _read_file(file)
    features = arrays["features"].astype(np.float32)
    if not np.isfinite(features).all():
        where = int(np.argwhere(~np.isfinite(features))[0][0])
        raise DatasetError(
            f"{file.path}: features of frame {where} are not finite numbers. Encode the video "
            "again (in float32: half precision overflows), or drop its row."
        )
    chosen = sampler(len(features))
    stored = torch.from_numpy(features)[chosen.flatten()].half().unflatten(0, chosen.shape)
    if not stored.isfinite().all():
        raise DatasetError(
            f"{file.path}: features beyond 65504 do not fit into fp16; scale them down."
        )
    indices = torch.from_numpy(np.asarray(arrays.get("frame_indices", np.arange(len(features)))))
    if len(indices) != len(features):
        raise DatasetError(
            f"{file.path}: {len(indices)} frame_indices for {len(features)} frames; one for each."
        )
    tensors = {name: stored[None], "frame_indices": indices[chosen.flatten()].view(chosen.shape)}
    save_tensors(store.path(file.id), tensors, about)


def _listed(file: ListedFile, classes: list[str]) -> dict:
    labels = [classes.index(name) for name in file.labels]
    return {"id": file.id, "labels": labels, "group": file.group}


def _check_former(store: Path, about: dict) -> None:
    former = read_json(store / STORE_FILE)
    for name in ("encoder", "kept"):
        if former and former.get(name) != about[name]:
            raise DatasetError(
                f"{store.resolve()} holds features with {name} {former.get(name)}, these have "
                f"{about[name]}. Name another store, or move that one away."
            )


def export_features(store: Path, folder: Path, form: Form = "npy") -> None:
    """Write a frozen encoder's store in the form that `import_features` reads: its centre crops.

    Args:
        store: folder of the store.
        folder: to write to.
        form: of the files; `.npz` and `.safetensors` hold `frame_indices` too.

    Raises:
        UserError: it is no store of a frozen encoder, or a file is damaged.
    """
    source = FeatureStore(store)
    about = source.about
    if "splits" not in about:
        raise DatasetError(
            f"{store.resolve()} was not made by a frozen encoder or an import: it belongs to one "
            "split of a trained run."
        )
    name = "maps" if about["kept"] == "map" else "features"
    from rich.progress import track

    for video in track(about["videos"], "Exporting features"):
        tensors = source.read(video["id"])
        arrays = {
            "features": tensors[name][0].flatten(0, 1).numpy(),
            "frame_indices": tensors["frame_indices"].flatten().numpy(),
        }
        _write_file(folder / f"{video['id']}.{form}", arrays, form)
    with atomic(folder / TABLE) as temporary, open(temporary, "w", newline="") as file:
        _write_table(csv.writer(file), about, form)


def _write_table(writer, about: dict, form: Form) -> None:
    columns = [f"split{number}" for number in about["splits"]]
    made_by = {name: str(value) for name, value in about["encoder"].items()}
    encoder = made_by.pop("encoder", "") or " ".join(made_by.values())
    known = {name: made_by.get(name, "") for name in MADE_BY[1:]}
    writer.writerow(["path", "labels", "group", *columns, "encoder", *known])
    sides: dict[str, dict[str, str]] = {}
    for number, split in about["splits"].items():
        for side in SIDES:
            for name in split[side]:
                sides.setdefault(name, {})[number] = side
    for video in about["videos"]:
        labels = ";".join(about["classes"][label] for label in video["labels"])
        own = [sides.get(video["id"], {}).get(number, "") for number in about["splits"]]
        path = f"{video['id']}.{form}"
        writer.writerow([path, labels, video["group"], *own, encoder, *known.values()])


def _write_file(path: Path, arrays: dict[str, np.ndarray], form: Form) -> None:
    with atomic(path) as temporary:
        if form == "npy":
            np.save(temporary, arrays["features"])
        elif form == "npz":
            np.savez(temporary, **arrays)
        else:
            save_file(arrays, temporary)
