"""Features made elsewhere: what is taken, and what is refused by name."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from sta_tsn.artefacts import read_json
from sta_tsn.errors import DatasetError
from sta_tsn.features import FeatureStore
from sta_tsn.features.exchange import export_features, import_features
from sta_tsn.features.stored_split import few_of_each_class, open_stored_split

ENCODER = {"encoder": "some ViT"}


def write_folder(
    folder: Path, num_frames: int = 6, header: str = "path,labels,group,split"
) -> Path:
    """Eight videos of two classes, half of them for testing; returns the table."""
    folder.mkdir(exist_ok=True)
    generator = np.random.default_rng(0)
    lines = [header]
    for number in range(8):
        features = generator.normal(size=(num_frames, 4)).astype(np.float32)
        np.save(folder / f"{number}.npy", features)
        side = "train" if number < 4 else "test"
        lines.append(f"{number}.npy,{'ab'[number % 2]},g{number},{side}")
    (folder / "features.csv").write_text("\n".join(lines) + "\n")
    return folder / "features.csv"


def changed(table: Path, old: str, new: str) -> None:
    text = table.read_text()
    assert old in text
    table.write_text(text.replace(old, new))


def imported(folder: Path, frames=None) -> tuple[FeatureStore, dict]:
    import_features(folder, folder / "store", "mine", ENCODER, frames)
    store = FeatureStore(folder / "store")
    return store, store.about


def test_a_folder_becomes_a_store_with_what_made_it(tmp_path):
    write_folder(tmp_path)
    store, about = imported(tmp_path)
    stored = store.read("3")["features"]
    expected = torch.from_numpy(np.load(tmp_path / "3.npy")).half()
    assert torch.equal(stored, expected[None, None])
    assert about["encoder"] == ENCODER
    assert about["frames"] == [1, 6]
    assert about["classes"] == ["a", "b"]
    split = open_stored_split(about, 1, 0.0, store.folder)
    assert [video["id"] for video in split.test] == ["4", "5", "6", "7"]


def test_npz_and_safetensors_bring_the_indices_of_their_frames(tmp_path):
    table = write_folder(tmp_path)
    arrays = {"features": np.ones((6, 4), np.float32), "frame_indices": 10 * np.arange(6)}
    np.savez(tmp_path / "0.npz", **arrays)
    save_file(arrays, tmp_path / "1.safetensors")
    changed(table, "0.npy", "0.npz")
    changed(table, "1.npy", "1.safetensors")
    store, _ = imported(tmp_path)
    for name in ("0", "1"):
        assert store.read(name)["frame_indices"].tolist() == [[0, 10, 20, 30, 40, 50]]


def test_videos_of_different_lengths_are_stored_as_3_x_10_steps_spread_evenly(tmp_path):
    write_folder(tmp_path)
    np.save(tmp_path / "0.npy", np.arange(60, dtype=np.float32).repeat(4).reshape(60, 4))
    store, about = imported(tmp_path)
    assert about["frames"] == [3, 10]
    assert store.read("0")["features"][0, ..., 0].flatten().tolist() == list(range(1, 60, 2))
    assert store.read("1")["features"].shape == (1, 3, 10, 4)


def test_maps_are_taken_too(tmp_path):
    write_folder(tmp_path)
    for number in range(8):
        np.save(tmp_path / f"{number}.npy", np.ones((6, 2, 2, 4), np.float32))
    store, about = imported(tmp_path)
    assert about["kept"] == "map"
    assert store.read("0")["maps"].shape == (1, 1, 6, 2, 2, 4)


@pytest.mark.parametrize("form", ["npy", "npz", "safetensors"])
def test_what_is_exported_is_imported_as_it_was(tmp_path, form):
    write_folder(tmp_path)
    store, about = imported(tmp_path)
    export_features(store.folder, tmp_path / "given", form)
    other, of_other = imported(tmp_path / "given")
    assert of_other == about
    assert torch.equal(other.read("5")["features"], store.read("5")["features"])


def test_without_a_split_groups_are_held_out_at_random(tmp_path):
    table = write_folder(tmp_path)
    text = "".join(line.rpartition(",")[0] + "\n" for line in table.read_text().splitlines())
    table.write_text(text)
    _, about = imported(tmp_path)
    assert list(about["splits"]) == ["1", "2", "3"]
    assert about["splits"]["1"]["train"]
    assert about["splits"]["1"]["test"]


def write_nan(folder: Path) -> None:
    features = np.load(folder / "2.npy")
    features[3, 1] = np.nan
    np.save(folder / "2.npy", features)


BAD_FILES = {
    "NaN": (write_nan, r"2\.npy: features of frame 3 are not finite"),
    "width": (
        lambda folder: np.save(folder / "2.npy", np.ones((6, 5), np.float32)),
        r"2\.npy: a frame has features \(5,\), in .*0\.npy it has \(4,\)",
    ),
    "batch axis": (
        lambda folder: np.save(folder / "2.npy", np.ones((1, 6, 4), np.float32)),
        r"2\.npy: features are \(T, D\) or .* Take the batch axis off",
    ),
    "too large": (
        lambda folder: np.save(folder / "2.npy", np.full((6, 4), 1e6, np.float32)),
        r"2\.npy: features beyond 65504",
    ),
    "cut off": (
        lambda folder: (folder / "2.npy").write_bytes((folder / "2.npy").read_bytes()[:100]),
        r"2\.npy cannot be read",
    ),
    "pickle": (
        lambda folder: np.save(folder / "2.npy", np.array([{}], dtype=object)),
        r"2\.npy cannot be read",
    ),
    "missing": (lambda folder: (folder / "2.npy").unlink(), r"line 4: there is no file .*2\.npy"),
}


@pytest.mark.parametrize("what", BAD_FILES)
def test_a_bad_file_is_named(tmp_path, what):
    write_folder(tmp_path)
    spoil, told = BAD_FILES[what]
    spoil(tmp_path)
    with pytest.raises(DatasetError, match=told):
        imported(tmp_path)
    assert not (tmp_path / "store" / "store.json").exists()


BAD_ROWS = {
    "twice": ("3.npy,b,g3,train", "2.npy,b,g3,train", "line 5: 2.npy is listed already .*line 4"),
    "unknown label": ("4.npy,a,", "4.npy,aa,", "line 6: class 'aa' is not in the training rows"),
    "no label": ("4.npy,a,", "4.npy,,", "line 6: 4.npy has no label"),
    "side": ("g4,test", "g4,tset", "line 6: split 'tset' is not train, val or test"),
    "outside": ("4.npy", "../4.npy", "line 6: .* not a path inside"),
    "no column": ("path,labels", "file,labels", "no column path"),
}


@pytest.mark.parametrize("what", BAD_ROWS)
def test_a_bad_row_is_named(tmp_path, what):
    old, new, told = BAD_ROWS[what]
    changed(write_folder(tmp_path), old, new)
    with pytest.raises(DatasetError, match=told):
        imported(tmp_path)


def test_features_of_two_makings_are_refused(tmp_path):
    table = write_folder(tmp_path)
    lines = table.read_text().splitlines()
    rows = [f"{lines[0]},encoder"]
    for number, line in enumerate(lines[1:]):
        rows.append(f"{line},{'ViT at 224 px' if number < 4 else 'ViT at 518 px'}")
    table.write_text("\n".join(rows) + "\n")
    with pytest.raises(DatasetError, match=r"encoder is 'ViT at 518 px', in .*line 2 it is"):
        imported(tmp_path)


def test_a_store_of_another_encoder_is_not_written_over(tmp_path):
    write_folder(tmp_path)
    store, _ = imported(tmp_path)
    with pytest.raises(DatasetError, match=r"some ViT.*these have .*other"):
        import_features(tmp_path, store.folder, "mine", {"encoder": "other"}, None)
    assert read_json(store.folder / "store.json")["encoder"] == ENCODER


def test_few_labels_are_of_as_many_sources_as_there_are():
    videos = []
    for number in range(12):
        source = "long" if number < 9 else f"short{number}"
        videos.append({"id": str(number), "labels": [0], "group": source})
    for seed in range(5):
        chosen = few_of_each_class(videos, 4, seed)
        assert len({video["group"] for video in chosen}) == 4
    assert len(few_of_each_class(videos, 50, 0)) == 12
    draws = {
        tuple(video["id"] for video in few_of_each_class(videos, 2, seed)) for seed in range(9)
    }
    assert len(draws) > 1


def test_the_table_may_have_a_column_for_each_split(tmp_path):
    table = write_folder(tmp_path, header="path,labels,group,split1")
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows):
        row["split2"] = "test" if number < 2 else "train"
    with open(table, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    _, about = imported(tmp_path)
    assert about["splits"]["2"]["test"] == ["0", "1"]
