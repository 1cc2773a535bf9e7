"""`make data`: fetch and unpack a dataset's archives. The network is touched only here, and only when asked."""

import logging
from pathlib import Path

from sta_tsn.artefacts import file_digest, read_json, write_json
from sta_tsn.datasets.records import Archive, VideoDataset
from sta_tsn.datasets.unpack import unpack
from sta_tsn.errors import DatasetError

SEGMENTS = 4  # pypdl goes on where a connection broke for files fetched in segments only
RETRIES = 20


def download(kind: type[VideoDataset], root: Path) -> None:
    """Fetch what can be fetched into `root/.archives`, check it, unpack it; what is there already is left alone.

    Repeating the call goes on where it stopped: between archives, inside a file, inside an archive.

    Raises:
        DatasetError: an archive cannot be fetched, or its checksum is another one; says what to do by hand.
    """
    for archive in kind.archives:
        done = root / ".archives" / f"{archive.name}.json"
        if (root / archive.folder / read_json(done).get("a_file", "?")).exists():
            print(f"{archive.name}: unpacked already", flush=True)
            continue
        file = root / ".archives" / archive.name
        if not file.exists():
            print(f"{archive.name}: fetching {archive.url}", flush=True)
            fetch(archive, file, kind.page)
        check(archive, file)
        print(f"{archive.name}: unpacking", flush=True)
        names = unpack(file, root / archive.folder)
        write_json(done, {"url": archive.url, "checksum": archive.checksum, "bytes": file.stat().st_size, "a_file": names[0]})
    if kind.archives:
        print(f"The archives are kept in {(root / '.archives').resolve()}; delete them, not the .json files, when check-data is content.")
    if kind.by_hand:
        print(f"To be fetched by hand, from {kind.page}:\n{kind.by_hand}\nThe layout should become\n{kind.layout}", flush=True)


def fetch(archive: Archive, file: Path, page: str) -> None:
    """Download to a name of its own and rename when whole; goes on with what an earlier call left there."""
    from aiohttp import ClientTimeout
    from pypdl import Pypdl

    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{file.name}.partial")
    quiet = logging.getLogger("pypdl.quiet")  # it logs a traceback for every broken connection
    quiet.setLevel(logging.CRITICAL)
    timeout = ClientTimeout(sock_connect=30, sock_read=60)
    # Without ETags a resumed file could mix two versions; checksums, and those inside archives, find that out.
    settings = {"segments": SEGMENTS, "retries": RETRIES, "timeout": timeout, "etag_validation": False}
    if not Pypdl(logger=quiet).start(archive.url, str(partial), **settings):
        raise DatasetError(
            f"{archive.url} could not be fetched (no network, or the server has moved it). What came is kept; the same command "
            f"goes on with it.\nOr get it by hand from {page} and put it at {file.resolve()}"
        )
    partial.replace(file)


def check(archive: Archive, file: Path) -> None:
    """Compare with the published checksum, where there is one. A wrong file is moved aside."""
    if not archive.checksum:
        print(f"{archive.name}: no checksum is published, taken as it is ({file.stat().st_size:,} bytes)", flush=True)
        return
    algorithm, _, expected = archive.checksum.partition(":")
    found = file_digest(file, algorithm)
    if found != expected:
        aside = file.with_name(f"{file.name}.corrupt")
        file.replace(aside)
        raise DatasetError(
            f"{archive.name}: {algorithm} is {found}, published is {expected}: the download is damaged or the server has another file.\n"
            f"It is kept as {aside.resolve()}; the same command fetches it anew."
        )
