"""Fetch and unpack a dataset's archives: the only place that asks for them, when told to."""

import contextlib
import logging
import sys
from pathlib import Path

from sta_tsn.artefacts import file_digest, read_json, write_json
from sta_tsn.datasets.records import Archive, VideoDataset
from sta_tsn.datasets.unpack import unpack
from sta_tsn.errors import DatasetError, UserError

SEGMENTS = 4  # pypdl goes on where a connection broke for files fetched in segments only
RETRIES = 20


def download(kind: type[VideoDataset], root: Path) -> None:
    """Fetch what can be fetched into `root/.archives`, check it and unpack it.

    What is there already is left alone. Repeating the call goes on where it stopped: between
    archives, inside a file, inside an archive. Archives that lie in `root/.archives` under their
    names are taken from there.

    Args:
        kind: the dataset's class, which names its archives.
        root: the folder that the dataset is to lie in; made where it is missing.

    Raises:
        DatasetError: an archive cannot be fetched, or its checksum is another one; says what to do
            by hand.
    """
    if root.exists() and not root.is_dir():
        raise DatasetError(
            f"{root.resolve()} is a file; give the folder that the dataset is to lie in."
        )
    for archive in kind.archives:
        if _is_unpacked(archive, root):
            print(f"{archive.name}: unpacked already", flush=True)
            continue
        file = root / ".archives" / archive.name
        if not file.exists():
            print(f"{archive.name}: fetching {archive.url}", flush=True)
            if not fetch(archive, file):
                raise DatasetError(_what_is_left(kind, root, archive))
        check(archive, file)
        print(f"{archive.name}: unpacking", flush=True)
        names = unpack(file, root / archive.folder)
        about = {
            "url": archive.url,
            "checksum": archive.checksum,
            "bytes": file.stat().st_size,
            "files": names,
        }
        write_json(_note(archive, root), about)
    if kind.archives:
        print(
            f"The archives are kept in {(root / '.archives').resolve()}; delete them, not the "
            ".json files, when check-data is content."
        )
    print(_by_hand(kind), end="", flush=True)


def _note(archive: Archive, root: Path) -> Path:
    return root / ".archives" / f"{archive.name}.json"


def _is_unpacked(archive: Archive, root: Path) -> bool:
    """Tell whether everything that came out of an archive once is still there."""
    try:
        names = read_json(_note(archive, root)).get("files", [])
    except UserError:  # not ours, or edited
        return False
    return bool(names) and all((root / archive.folder / name).exists() for name in names)


def _by_hand(kind: type[VideoDataset]) -> str:
    if not kind.by_hand:
        return ""
    return (
        f"To be fetched by hand, from {kind.page}:\n{kind.by_hand}\n"
        f"The layout should become\n{kind.layout}\n"
    )


def _what_is_left(kind: type[VideoDataset], root: Path, failed: Archive) -> str:
    """Say everything that a person without network has to bring, at once."""
    folder = root / ".archives"
    missing = [
        one
        for one in kind.archives
        if not _is_unpacked(one, root) and not (folder / one.name).exists()
    ]
    text = (
        f"{failed.url} could not be fetched (no network, or the server has moved it). "
        "What came is kept.\n"
        f"The same command goes on with it. Or get these by hand (page: {kind.page}), "
        f"put them into {folder.resolve()}, and repeat:\n"
    )
    text += "".join(f"  {one.name}  from {one.url}\n" for one in missing)
    return (text + _by_hand(kind)).rstrip()


def fetch(archive: Archive, file: Path) -> bool:
    """Download to a name of its own, rename when whole, and return whether it is.

    Goes on with what an earlier call left there.
    """
    from aiohttp import ClientTimeout
    from pypdl import Pypdl

    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{file.name}.partial")
    quiet = logging.getLogger("pypdl.quiet")  # it logs a traceback for every broken connection
    quiet.setLevel(logging.CRITICAL)
    timeout = ClientTimeout(sock_connect=30, sock_read=60)
    # Without ETags a resumed file could mix two versions; checksums, and those inside archives,
    # find that out.
    settings = {
        "segments": SEGMENTS,
        "retries": RETRIES,
        "timeout": timeout,
        "etag_validation": False,
    }
    if not Pypdl(logger=quiet).start(
        archive.url, str(partial), display=sys.stdout.isatty(), **settings
    ):
        with contextlib.suppress(OSError):
            file.parent.rmdir()  # where nothing came
        return False
    partial.replace(file)
    return True


def check(archive: Archive, file: Path) -> None:
    """Compare with the published checksum, where there is one. A wrong file is moved aside."""
    if not archive.checksum:
        print(
            f"{archive.name}: no checksum is published, taken as it is "
            f"({file.stat().st_size:,} bytes)",
            flush=True,
        )
        return
    algorithm, _, expected = archive.checksum.partition(":")
    found = file_digest(file, algorithm)
    if found != expected:
        aside = file.with_name(f"{file.name}.corrupt")
        file.replace(aside)
        raise DatasetError(
            f"{archive.name}: {algorithm} is {found}, published is {expected}: "
            "the download is damaged or the server has another file.\n"
            f"It is kept as {aside.resolve()}; the same command fetches it anew."
        )
