"""Tensors in safetensors files, each with checksums that notice when the file has changed since."""

import json
import os
import zlib

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sta_tsn.artefacts import DAMAGED, atomic, first_line
from sta_tsn.errors import UserError

CHECKSUMS = "checksums"  # of the header's texts, the one that holds them


def save_tensors(
    path: str | os.PathLike, tensors: dict[str, Tensor], about: dict[str, str] | None = None
) -> None:
    """Write tensors by name, with a checksum of every entry of each one's first axis.

    Args:
        path: of the file.
        tensors: of any shape but ().
        about: further texts for the file's header, which `read_about` returns.
    """
    stored = {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}
    checksums = {name: [checksum(entry) for entry in tensor] for name, tensor in stored.items()}
    with atomic(path) as temporary:
        save_file(stored, temporary, {**(about or {}), CHECKSUMS: json.dumps(checksums)})


def read_about(path: str | os.PathLike) -> dict[str, str]:
    """Return the texts in a file's header; {} where there is no file, or none that can be read."""
    try:
        with safe_open(path, "pt") as file:
            return {
                name: text for name, text in (file.metadata() or {}).items() if name != CHECKSUMS
            }
    except (SafetensorError, FileNotFoundError, *DAMAGED):
        return {}


def load_tensors(path: str | os.PathLike, remedy: str) -> dict[str, Tensor]:
    """Return all tensors of a file by name.

    Args:
        path: of the file.
        remedy: a sentence for the user of a damaged file.

    Raises:
        UserError: the file has changed since it was written. Files of earlier versions have no
            checksums; of these only a damaged header is noticed.
    """
    try:
        with safe_open(path, "pt") as file:
            names = file.keys()
            return {name: _checked(file, name, file.get_tensor(name)) for name in names}
    except (SafetensorError, AttributeError, *DAMAGED) as error:
        raise _refusal(path, error, remedy) from error


def load_entry(path: str | os.PathLike, name: str, draw: int, remedy: str) -> Tensor:
    """Return entry `draw` modulo their number of a tensor's first axis (1, ...), read alone.

    Args, Raises: see `load_tensors`.
    """
    try:
        with safe_open(path, "pt") as file:
            stored = file.get_slice(name)
            entry = draw % stored.get_shape()[0]
            return _checked(file, name, stored[entry : entry + 1], entry)
    except (SafetensorError, AttributeError, *DAMAGED) as error:
        raise _refusal(path, error, remedy) from error


def checksum(tensor: Tensor) -> int:
    """Return the CRC-32 of a tensor's bytes."""
    return zlib.crc32(tensor.contiguous().numpy())


def _checked(file: safe_open, name: str, tensor: Tensor, first: int = 0) -> Tensor:
    """Return `tensor`, the entries from `first` on, when they are as they were written."""
    written = (file.metadata() or {}).get(CHECKSUMS)
    if written is None:
        return tensor
    expected = json.loads(written)[name][first : first + len(tensor)]
    if [checksum(entry) for entry in tensor] != expected:
        raise ValueError(f"{name} has changed since it was written")
    return tensor


def _refusal(path: str | os.PathLike, error: Exception, remedy: str) -> UserError:
    return UserError(f"{path} is damaged ({first_line(error)}). {remedy}")
