"""Archives (.zip, .tar.gz, .rar, .rar inside .rar) that never write outside their folder.

Refused before anything is written: absolute paths, `..`, links and devices, and archives that would
grow more than a hundredfold or beyond the free disk. Files that are there whole already are not
written again.
"""

import gzip
import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sta_tsn.artefacts import atomic
from sta_tsn.datasets.lists import inside
from sta_tsn.errors import DatasetError

MAX_GROWTH = 100  # text lists shrink about twentyfold, videos not at all
DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,
)


@dataclass(frozen=True)
class Member:
    """Describe a file in an archive, whatever its format."""

    name: str
    size_bytes: int
    plain: bool  # neither a link nor a device
    open: Callable[[], IO[bytes]]


def unpack(archive: Path, folder: Path, limit_bytes: int | None = None) -> list[str]:
    """Unpack `archive` into `folder`, then every .rar that was in it (one level deep).

    What an inner one holds lands beside where it lay.

    Args:
        archive: the file.
        folder: where its members go.
        limit_bytes: what may come out; a hundred times the archive's size where None.

    Returns:
        The names that were in it.

    Raises:
        DatasetError: it must not be trusted or the disk is too small (nothing of it is written
            then), it is damaged or asks for a password (files before that place stay), or a file
            cannot be written.
    """
    from rich.progress import track

    nested = limit_bytes is not None
    limit_bytes = limit_bytes or MAX_GROWTH * archive.stat().st_size + 1_000_000
    with _members(archive) as members:
        total = check_members(archive, members, limit_bytes)
        todo = [member for member in members if not _is_there(folder / member.name, member)]
        check_room(archive, sum(member.size_bytes for member in todo), folder)
        for member in track(todo, description=f"  {archive.name}"):
            with member.open() as source:
                _write(source, folder / member.name)
    for member in members:
        if member.name.lower().endswith(".rar") and not nested:
            inner = folder / member.name
            with _members(inner) as held:
                total += check_members(inner, held, limit_bytes - total)
            unpack(inner, inner.parent, limit_bytes)
    return [member.name for member in members]


def _is_there(target: Path, member: Member) -> bool:
    return target.is_file() and target.stat().st_size == member.size_bytes


def _write(source: IO[bytes], target: Path) -> None:
    try:
        with atomic(target) as temporary, open(temporary, "wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
    except (*DAMAGED, DatasetError):
        raise
    except OSError as error:
        raise DatasetError(
            f"{target.resolve()} cannot be written: {error.strerror or error}. "
            "Make room or give leave, and repeat."
        ) from error


def check_members(archive: Path, members: list[Member], limit_bytes: int) -> int:
    """Return the bytes that would come out; raise for what an official archive would not hold."""
    if not members:
        raise DatasetError(f"{archive}: is empty. Delete it and repeat.")
    for member in members:
        inside(member.name, str(archive))
        if not member.plain:
            raise DatasetError(
                f"{archive}: {member.name!r} is a link or a device; nothing was unpacked. "
                "Is this the official archive?"
            )
    total = sum(member.size_bytes for member in members)
    if total > limit_bytes:
        raise DatasetError(
            f"{archive}: would grow from {archive.stat().st_size:,} to {total:,} bytes; "
            "nothing of it was unpacked."
        )
    return total


def check_room(archive: Path, needed_bytes: int, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if needed_bytes > free:
        raise DatasetError(
            f"{archive}: needs {needed_bytes:,} bytes, {free:,} are free at {folder.resolve()}; "
            "make room and repeat."
        )


@contextmanager
def _members(archive: Path) -> Iterator[list[Member]]:
    import rarfile

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
            f"{archive}: no program that unpacks .rar is installed. Install unrar, unar, 7zip or "
            "bsdtar (Debian: apt install unar; macOS: brew install unar) and repeat."
        ) from error
    except (*DAMAGED, rarfile.Error, IsADirectoryError) as error:
        # tarfile goes on with every method it tried.
        reason = str(error).splitlines()[0].rstrip(":")
        raise DatasetError(
            f"{archive}: cannot be unpacked ({reason}). Delete it and repeat, or unpack it by hand."
        ) from error


def _zip_member(file: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    # Unix file type; 0 where the archive was made elsewhere, 8 for a plain file.
    kind = info.external_attr >> 28
    return Member(info.filename, info.file_size, kind in (0, 8), lambda: file.open(info))


def _tar_member(file: tarfile.TarFile, info: tarfile.TarInfo) -> Member:
    return Member(info.name, info.size, info.isreg(), lambda: file.extractfile(info))


def _rar_member(file, info) -> Member:
    return Member(info.filename, info.file_size, info.is_file(), lambda: file.open(info))
