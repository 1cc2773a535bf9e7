"""Everything written to disk: whole or not at all, and stamped with what made it."""

import errno
import hashlib
import json
import os
import pickle
import secrets
import struct
import subprocess
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path

from sta_tsn.errors import UserError

A_RUNS_CHECKPOINT = "Give runs/.../checkpoints/last.ckpt of a run."

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")  # of a cell, in spreadsheets

# What Python's readers raise of bytes that are not what they promise.
DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    OverflowError,
    RuntimeError,
)


@contextmanager
def atomic(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` only when the block succeeds.

    Raises:
        UserError: the disk is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    except Exception as error:
        if is_disk_full(error):
            raise UserError(
                f"{path.parent.resolve()}: no space left on this disk; {path.name} was not "
                "written. Make room; the same command goes on from there."
            ) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def is_disk_full(error: BaseException) -> bool:
    """Tell a full disk, or a full quota, from what each library makes of it when it writes.

    Python raises an OSError, safetensors passes the system's words on, and torch, which loses them,
    names the source file of its writer.
    """
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    said = str(error)
    if "No space left on device" in said or "Disk quota exceeded" in said:
        return True
    return isinstance(error, RuntimeError) and "inline_container" in said and "Reader" not in said


def save_figure(figure, path: str | os.PathLike) -> None:
    """Write a matplotlib figure in the format that the file's name says."""
    kind = Path(path).suffix[1:] or "png"
    with atomic(path) as temporary:
        figure.savefig(temporary, bbox_inches="tight", dpi=90, format=kind)


def write_json(path: str | os.PathLike, content: dict) -> None:
    """Write `content` as JSON; what JSON does not know is written as text."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, default=str) + "\n")


def read_json(path: str | os.PathLike) -> dict:
    """Return the file's content, or {} where there is no such file.

    Raises:
        UserError: it is damaged.
    """
    path = Path(path)
    try:
        return json.loads(path.read_text()) if path.exists() else {}
    except ValueError as error:
        raise UserError(
            f"{path} is damaged ({error}). Delete it; the command that writes it does so again."
        ) from error


def plain_cell(text: str) -> str:
    """Return a received name as a CSV cell that no spreadsheet takes for a formula.

    An apostrophe leads it where it begins like one: spreadsheets hide it and show the rest as text.
    """
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def fingerprint(content) -> str:
    """Return 12 hex digits that change when anything in `content` (JSON-like) changes."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def file_digest(path: str | os.PathLike, algorithm: str = "sha256") -> str:
    """Return the hex digits of the file's bytes (hashlib.file_digest, for Python 3.10 too)."""
    digest = hashlib.new(algorithm)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def file_fingerprint(path: str | os.PathLike) -> str:
    """Return 12 hex digits of the file's bytes."""
    return file_digest(path)[:12]


@cache
def provenance() -> dict[str, str]:
    """Return versions and commit that made an artefact.

    The commit is 'unknown' where the package is not in a checkout.
    """
    packages = ("sta-tsn", "torch", "timm", "pytorch-lightning", "albumentations", "av")
    here = str(Path(__file__).parent)
    git = ["git", "-C", here, "describe", "--always", "--dirty", "--exclude=*"]
    try:
        commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = "unknown"
    return {"commit": commit, **{name: version(name) for name in packages}}


def check_checkpoint(path: str | os.PathLike) -> None:
    """Read a checkpoint through once and compare its parts with the checksums that it holds.

    Raises:
        UserError: it is no checkpoint, cut off, or has changed since it was written.
    """
    try:
        with zipfile.ZipFile(path) as file:
            damaged = file.testzip()
    except FileNotFoundError:
        raise UserError(f"{path}: no such checkpoint. {A_RUNS_CHECKPOINT}") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder, no checkpoint. {A_RUNS_CHECKPOINT}") from None
    except DAMAGED as error:
        damaged = first_line(error)
    except OSError as error:
        if error.filename is not None:
            raise
        damaged = first_line(error)  # a jump to a place that the file names and does not have
    if damaged is not None:
        raise UserError(
            f"{path} is damaged or no checkpoint ({damaged}). Where a run wrote it, delete it, and "
            "the run's command trains it anew."
        )


def read_torch_file(path: str | os.PathLike, mmap: bool = False):
    """Return what `torch.save` wrote, on the CPU, after `check_checkpoint`; runs no code of it.

    Files of torch before 1.6 have no checksums; they are read without that check.

    Args:
        path: of the file.
        mmap: leave the tensors on the disk until they are used.

    Raises:
        UserError: no such file, damaged, or it holds more than tensors and settings.
    """
    import torch

    if _is_older_than_zip(path):
        mmap = False
    else:
        check_checkpoint(path)
    try:
        with warnings.catch_warnings():
            # What is refused is said below, in a sentence.
            warnings.filterwarnings("ignore", "Detected pickle protocol")
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except (pickle.UnpicklingError, AttributeError, *DAMAGED) as error:
        raise UserError(
            f"{path} is no checkpoint, damaged, or holds more than weights and settings, which is "
            f"not loaded: it could run code. {A_RUNS_CHECKPOINT}"
        ) from error


def load_checkpoint(path: str | os.PathLike, mmap: bool = False) -> dict:
    """Return the content of a run's checkpoint by `read_torch_file`: weights and settings.

    Raises:
        UserError: as `read_torch_file`, or it holds weights without a network's settings.
    """
    state = read_torch_file(path, mmap)
    if not isinstance(state, dict) or "state_dict" not in state:
        raise UserError(f"{path} holds weights without a network's settings. {A_RUNS_CHECKPOINT}")
    return state


def _is_older_than_zip(path: str | os.PathLike) -> bool:
    """Tell a bare pickle, which begins with a protocol's number, from a zip archive and text."""
    if not Path(path).is_file():
        return False
    with open(path, "rb") as file:
        return file.read(1) == pickle.PROTO


def first_line(error: Exception) -> str:
    """Return the first line of what an error says, or its kind where it says nothing."""
    lines = str(error).splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
