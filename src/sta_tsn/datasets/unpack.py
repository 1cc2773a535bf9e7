"""Archives (.zip, .tar.gz, .rar, and .rar inside .rar) unpacked without ever writing outside their folder.

Refused before anything is written: absolute paths, `..`, links and devices, and archives that would grow more than a
hundredfold or beyond the free disk. Files that are there whole already are not written again.
"""

import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sta_tsn.artefacts import atomic
from sta_tsn.datasets.lists import inside
from sta_tsn.errors import DatasetError

MAX_GROWTH = 100  # text lists shrink about twentyfold, videos not at all


@dataclass(frozen=True)
class Member:
    """A file in an archive, whatever its format."""

    name: str
    size_bytes: int
    plain: bool  # neither a link nor a device
    open: Callable[[], IO[bytes]]


def unpack(archive: Path, folder: Path) -> None:
    """Unpack `archive` into `folder`, then every .rar that was in it, beside where it lay.

    Raises:
        DatasetError: the archive is damaged, asks for a password or must not be trusted; nothing is written then.
    """
    from rich.progress import track

    with _members(archive) as members:
        check_members(archive, members, folder)
        for member in track(members, description=f"  {archive.name}"):
            target = folder / member.name
            if target.exists() and target.stat().st_size == member.size_bytes:
                continue
            with atomic(target) as temporary, open(temporary, "wb") as file, member.open() as source:
                shutil.copyfileobj(source, file, 1 << 20)
    for member in members:
        if member.name.lower().endswith(".rar"):
            inner = folder / member.name
            unpack(inner, inner.parent)


def check_members(archive: Path, members: list[Member], folder: Path) -> None:
    for member in members:
        inside(member.name, str(archive))
        if not member.plain:
            raise DatasetError(f"{archive}: {member.name!r} is a link or a device; nothing was unpacked. Is this the official archive?")
    total = sum(member.size_bytes for member in members)
    if total > MAX_GROWTH * archive.stat().st_size + 1_000_000:
        raise DatasetError(f"{archive}: would grow from {archive.stat().st_size:,} to {total:,} bytes; nothing was unpacked.")
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if total > free:
        raise DatasetError(f"{archive}: needs {total:,} bytes, {free:,} are free at {folder.resolve()}; make room and repeat.")


@contextmanager
def _members(archive: Path) -> Iterator[list[Member]]:
    import rarfile

    damaged = (zipfile.BadZipFile, tarfile.TarError, rarfile.Error, EOFError, RuntimeError, OSError)
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as file:
                yield [_zip_member(file, info) for info in file.infolist() if not info.is_dir()]
        elif rarfile.is_rarfile(archive):
            with rarfile.RarFile(archive) as file:
                yield [_rar_member(file, info) for info in file.infolist() if not info.is_dir()]
        else:
            with tarfile.open(archive) as file:
                yield [_tar_member(file, info) for info in file.getmembers() if not info.isdir()]
    except rarfile.RarCannotExec as error:
        raise DatasetError(
            f"{archive}: no program that unpacks .rar is installed. Install unrar, unar, 7zip or bsdtar (Debian: apt install unar; "
            "macOS: brew install unar) and repeat."
        ) from error
    except damaged as error:
        raise DatasetError(f"{archive}: cannot be unpacked ({error}). Delete it and repeat, or unpack it by hand.") from error


def _zip_member(file: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    kind = info.external_attr >> 28  # Unix file type; 0 where the archive was made elsewhere, 8 for a plain file
    return Member(info.filename, info.file_size, kind in (0, 8), lambda: file.open(info))


def _tar_member(file: tarfile.TarFile, info: tarfile.TarInfo) -> Member:
    return Member(info.name, info.size, info.isreg(), lambda: file.extractfile(info))


def _rar_member(file, info) -> Member:
    return Member(info.filename, info.file_size, info.is_file(), lambda: file.open(info))
