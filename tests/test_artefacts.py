"""What is read from disk is what was written, or a sentence that says it is not."""

import random
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sta_tsn import artefacts
from sta_tsn.artefacts import load_checkpoint, plain_cell
from sta_tsn.cli import main
from sta_tsn.errors import UserError, unknown
from sta_tsn.evaluation import ScoreTable
from sta_tsn.features.tensor_files import load_entry, load_tensors, save_tensors

CLASSES = list("abcd")
CHECKPOINT = {
    "state_dict": {"weight": torch.rand(200), "bias": torch.rand(7)},
    "hyper_parameters": {"lr": 1e-3, "classes": CLASSES},
}
FEATURES = {
    "features": torch.rand(10, 3, 2, 4).half(),
    "frame_indices": torch.arange(6).reshape(3, 2),
}


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("run.json", lambda path: path.write_text("x" * 100_000)),
        ("scores.npy", lambda path: path.write_bytes(np.zeros(100_000).tobytes())),
        ("last.ckpt", lambda path: torch.save({"weight": torch.zeros(1_000_000)}, path)),
    ],
)
def test_a_full_disk_is_told_by_the_folder_that_is_full(tmp_path, monkeypatch, name, write):
    """/dev/full answers every write as a full disk does."""
    monkeypatch.setattr(artefacts.secrets, "token_hex", lambda length: "full")
    path = tmp_path / name
    path.write_text("earlier")
    (tmp_path / f".{path.stem}.full{path.suffix}").symlink_to("/dev/full")
    with (
        pytest.raises(UserError, match=f"{tmp_path}: no space left .*{name} was not written"),
        artefacts.atomic(path) as temporary,
    ):
        write(temporary)
    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert path.read_text() == "earlier"


def flip_bits(path: Path, load: Callable, expected: object) -> int:
    """Return how many of 300 copies with a flipped bit are refused; the others say `expected`."""
    content = path.read_bytes()
    generator = random.Random(0)
    copy = path.with_name(f"copy{path.suffix}")
    refused = 0
    for _ in range(300):
        changed = bytearray(content)
        changed[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        copy.write_bytes(changed)
        try:
            found = load(copy)
        except UserError as error:
            assert "\n" not in str(error)
            refused += 1
        else:
            torch.testing.assert_close(found, expected, rtol=0, atol=0)
    return refused


def test_a_flipped_bit_changes_no_checkpoint(tmp_path):
    path = tmp_path / "last.ckpt"
    torch.save(CHECKPOINT, path)

    def load(copy: Path) -> tuple:
        state = load_checkpoint(copy)
        settings = state["hyper_parameters"]
        return state["state_dict"], settings["lr"], "".join(settings["classes"]).encode()[0]

    assert flip_bits(path, load, load(path)) > 150


def test_a_flipped_bit_changes_no_features(tmp_path):
    path = tmp_path / "video.safetensors"
    save_tensors(path, FEATURES)
    assert flip_bits(path, lambda copy: load_tensors(copy, "Delete it."), FEATURES) > 270
    # The bits of the nine other views and of the other tensor are not read.
    one_view = FEATURES["features"][3:4]
    refused = flip_bits(path, lambda copy: load_entry(copy, "features", 3, "Delete it."), one_view)
    assert refused > 60


def score_table() -> ScoreTable:
    table = ScoreTable(
        [f"v{row}" for row in range(20)],
        torch.rand(20, 4),
        torch.eye(4).repeat(5, 1).bool(),
        CLASSES,
        {"split": 1},
        temporal_weights=torch.rand(20, 3, 2),
        groups=[f"g{row // 2}" for row in range(20)],
    )
    of_validation = ScoreTable(
        ["x", "y"], torch.rand(2, 4), torch.eye(4)[:2].bool(), CLASSES, {"split": 1}
    )
    return replace(table, validation=of_validation)


def test_a_flipped_bit_changes_no_scores(tmp_path):
    path = tmp_path / "scores.npz"
    score_table().save(path)

    def load(copy: Path) -> list:
        table = ScoreTable.load(copy)
        names = " ".join([*table.ids, *table.groups, *table.classes, str(table.protocol)])
        return [
            table.scores,
            table.labels,
            table.temporal_weights,
            table.validation.scores,
            torch.tensor(list(names.encode())),
        ]

    assert flip_bits(path, load, load(path)) > 150


def test_a_wrong_length_in_the_list_of_arrays_does_not_hide_the_last_of_them(tmp_path):
    """A zip archive's entry ends with a comment; a long one swallows the entries after it."""
    path = tmp_path / "scores.npz"
    score_table().save(path)
    changed = bytearray(path.read_bytes())
    entry = zipfile.ZipFile(path).start_dir
    changed[entry + 33] = 0xFF  # the upper byte of the first comment's length
    path.write_bytes(changed)
    with pytest.raises(UserError, match="its list of arrays is damaged"):
        ScoreTable.load(path)


def test_files_without_checksums_are_read_as_before(tmp_path):
    """Features and scores of earlier versions."""
    from safetensors.torch import save_file

    save_file(FEATURES, tmp_path / "old.safetensors")
    found = load_tensors(tmp_path / "old.safetensors", "Delete it.")
    torch.testing.assert_close(found, FEATURES, rtol=0, atol=0)
    table = score_table()
    np.savez_compressed(
        tmp_path / "old.npz",
        ids=np.array(table.ids),
        scores=table.scores.numpy(),
        labels=table.labels.numpy(),
        classes=np.array(CLASSES),
        protocol=np.array("{}"),
    )
    old = ScoreTable.load(tmp_path / "old.npz")
    assert torch.equal(old.scores, table.scores)
    assert old.groups == old.ids


def test_a_received_name_without_end_is_shortened_not_searched_for_hours():
    said = str(unknown("backbone", "x" * 1_000_000, ["resnet18"] * 2000))
    assert len(said) < 400


def test_received_names_are_no_formulas_in_tables():
    assert plain_cell("=1+1") == "'=1+1"
    assert plain_cell("@SUM(A1)") == "'@SUM(A1)"
    assert plain_cell("Jump = high") == "Jump = high"


def test_weights_in_the_format_before_zip_are_read(tmp_path):
    torch.save(
        {"state_dict": {"weight": torch.ones(2)}},
        tmp_path / "old.pth",
        _use_new_zipfile_serialization=False,
    )
    assert load_checkpoint(tmp_path / "old.pth", mmap=True)["state_dict"]["weight"].sum() == 2


@pytest.mark.parametrize("kind", ["empty", "text", "cut", "a folder"])
@pytest.mark.parametrize("verb", ["explain", "predict"])
def test_what_is_no_checkpoint_is_one_sentence(tmp_path, capsys, verb, kind):
    path = tmp_path / "last.ckpt"
    if kind == "a folder":
        path.mkdir()
    else:
        torch.save(CHECKPOINT, path)
        content = {"empty": b"", "text": b"epoch,step\n" * 9, "cut": path.read_bytes()[:-99]}
        path.write_bytes(content[kind])
    given = ["a.avi", str(path)] if verb == "explain" else ["a.avi", f"--checkpoint={path}"]
    assert main([verb, *given]) == 1
    said = capsys.readouterr().err
    assert f"{path} is " in said
    # A folder may be one that was published.
    assert ("no published network" if kind == "a folder" else "no checkpoint") in said
    assert said.count("\n") == 1


def test_an_array_is_no_score_table(tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.ones(3))
    assert main(["evaluate", str(tmp_path / "x.npy")]) == 1
    said = capsys.readouterr().err
    assert "x.npy is no score table" in said
    assert "it is a single array" in said
    assert said.count("\n") == 1
