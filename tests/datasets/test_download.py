"""Downloads from a server on this machine that drops connections and serves damaged files.

There are archives, too, that must be refused.
"""

import contextlib
import hashlib
import io
import os
import re
import struct
import tarfile
import threading
import time
import zipfile
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sta_tsn.cli import main
from sta_tsn.datasets import UCF101
from sta_tsn.datasets.download import download
from sta_tsn.datasets.records import Archive
from sta_tsn.datasets.unpack import unpack
from sta_tsn.errors import DatasetError


class Server(BaseHTTPRequestHandler):
    """Serve `files`, and note what was asked for.

    The connection is cut after `cut_after` bytes as long as `cuts` lasts.
    """

    protocol_version = "HTTP/1.1"
    files: dict[str, bytes]
    cut_after, cuts = 200_000, 0
    bytes_sent = 0
    starts: set[int]

    def do_HEAD(self):
        self.answer(with_body=False)

    def do_GET(self):
        self.answer(with_body=True)

    def answer(self, with_body: bool) -> None:
        server, content = type(self), self.files.get(self.path.lstrip("/"))
        if content is None:
            self.send_error(404)
            return
        asked = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        first, last = (
            (int(asked[1]), int(asked[2] or len(content) - 1)) if asked else (0, len(content) - 1)
        )
        body = content[first : last + 1]
        server.starts.add(first)
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", '"one"')
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        self.end_headers()
        if not with_body:
            return
        if server.cuts and len(body) > server.cut_after:
            server.cuts -= 1
            body, self.close_connection = body[: server.cut_after], True
        with contextlib.suppress(OSError):  # the client hangs up its other segments when one breaks
            for start in range(0, len(body), 50_000):
                server.bytes_sent += self.wfile.write(body[start : start + 50_000])
        if self.close_connection:
            time.sleep(
                0.2
            )  # else a busy client finds the connection broken before it has read what was sent
            self.connection.close()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    handler = type("OneServer", (Server,), {"files": {}, "starts": set()})
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    handler.address = f"http://127.0.0.1:{http.server_port}"
    yield handler
    http.shutdown()


def dataset(server, **files: str) -> type[UCF101]:
    """Return a dataset whose archives lie on the server; values are their checksums."""
    archives = tuple(
        Archive(f"{server.address}/{name.replace('_', '.')}", checksum)
        for name, checksum in files.items()
    )
    return type(
        "Mini", (UCF101,), {"archives": archives, "page": "https://example.org/page", "by_hand": ""}
    )


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return buffer.getvalue()


def stored_rar(files: dict[str, bytes], attributes: int = 0o100644) -> bytes:
    """RAR 2.9 with uncompressed members, by the published description of the format."""

    def block(kind: int, flags: int, fields: bytes) -> bytes:
        head = struct.pack("<BHH", kind, flags, 7 + len(fields)) + fields
        return struct.pack("<H", zlib.crc32(head) & 0xFFFF) + head

    out = b"Rar!\x1a\x07\x00" + block(0x73, 0, bytes(6))
    for name, content in files.items():
        fields = struct.pack(
            "<IIBIIBBHI",
            len(content),
            len(content),
            3,
            zlib.crc32(content),
            0,
            20,
            0x30,
            len(name),
            attributes,
        )
        out += block(0x74, 0x8000, fields + name.encode()) + content
    return out + block(0x7B, 0x4000, b"")


def test_a_dropped_connection_is_continued_not_repeated(server, tmp_path):
    video = os.urandom(3_000_000)
    server.files["videos.zip"], server.cuts = zipped(**{"UCF-101/Run/a.avi": video}), 8
    checksum = f"md5:{hashlib.md5(server.files['videos.zip']).hexdigest()}"
    download(dataset(server, videos_zip=checksum), tmp_path)
    assert (tmp_path / "UCF-101" / "Run" / "a.avi").read_bytes() == video
    assert server.cuts == 0
    assert server.bytes_sent < 1.2 * len(server.files["videos.zip"])
    assert (
        len(server.starts) > 4 + 1
    )  # some requests began in the middle of one of the four segments
    server.bytes_sent = 0
    download(dataset(server, videos_zip=checksum), tmp_path)
    assert server.bytes_sent == 0  # unpacked already


def test_a_server_that_gives_up_keeps_what_came(server, tmp_path, monkeypatch):
    monkeypatch.setattr("sta_tsn.datasets.download.RETRIES", 1)
    server.files["videos.zip"], server.cuts = zipped(a=os.urandom(3_000_000)), 1000
    kind = dataset(server, videos_zip="")
    with pytest.raises(
        DatasetError, match=r"could not be fetched(.|\n)*goes on with it(.|\n)*example.org/page"
    ):
        download(kind, tmp_path)
    server.cuts, server.bytes_sent = 0, 0
    download(kind, tmp_path)
    assert (tmp_path / "a").stat().st_size == 3_000_000
    assert 0 < server.bytes_sent < 0.8 * 3_000_000


def test_a_damaged_file_is_named_kept_and_fetched_anew(server, tmp_path):
    good = zipped(a=b"content")
    server.files["videos.zip"] = good[:-30] + bytes(30)
    kind = dataset(server, videos_zip=f"sha256:{hashlib.sha256(good).hexdigest()}")
    with pytest.raises(
        DatasetError,
        match=r"videos.zip: sha256 is [0-9a-f]{64}, published is(.|\n)*videos.zip.corrupt",
    ):
        download(kind, tmp_path)
    assert not (tmp_path / "a").exists()
    server.files["videos.zip"] = good
    download(kind, tmp_path)
    assert (tmp_path / "a").read_bytes() == b"content"


def test_files_that_vanished_after_unpacking_come_back(server, tmp_path):
    server.files["lists.zip"] = zipped(a=b"one", b=b"two")
    download(dataset(server, lists_zip=""), tmp_path)
    (tmp_path / "b").unlink()
    download(dataset(server, lists_zip=""), tmp_path)
    assert (tmp_path / "b").read_bytes() == b"two"
    (tmp_path / ".archives" / "lists.zip.json").write_text(
        '{"files"'
    )  # not ours any more: unpacked again
    download(dataset(server, lists_zip=""), tmp_path)
    assert '"b"' in (tmp_path / ".archives" / "lists.zip.json").read_text()


def test_everything_that_is_to_be_brought_is_named_at_once(server, tmp_path, monkeypatch):
    monkeypatch.setattr("sta_tsn.datasets.download.RETRIES", 0)
    with pytest.raises(
        DatasetError,
        match=r"(?s)lists.zip could not be fetched.*lists\.zip  from http.*videos\.zip  from http",
    ):
        download(dataset(server, lists_zip="", videos_zip=""), tmp_path / "new")
    assert not (tmp_path / "new" / ".archives").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="is a file; give the folder"):
        download(dataset(server, lists_zip=""), tmp_path / "file")


def test_the_demo_is_not_downloaded(tmp_path, capsys):
    assert main(["data", "--dataset=demo", f"--data={tmp_path}"]) == 1
    assert "nothing to download" in capsys.readouterr().err


def test_nothing_at_the_address(server, tmp_path, monkeypatch):
    monkeypatch.setattr("sta_tsn.datasets.download.RETRIES", 0)
    with pytest.raises(
        DatasetError,
        match=r"absent.zip could not be fetched(.|\n)*put them into .*\.archives(.|\n)*"
        r"absent.zip  from http",
    ):
        download(dataset(server, absent_zip=""), tmp_path)


def test_what_needs_a_person_is_named_with_its_place(tmp_path, capsys):
    assert main(["data", "--dataset=something_v2", f"--data={tmp_path / 'ssv2'}"]) == 0
    shown = capsys.readouterr().out
    assert "www.qualcomm.com" in shown
    assert "20bn-something-something-v2/<id>.webm" in shown
    assert main(["data", "--dataset=folder"]) == 1
    assert "nothing to download" in capsys.readouterr().err


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_rar_inside_rar(tmp_path):
    inner = {
        name: stored_rar({f"{name}/clip_(1)!.avi": name.encode() * 100}) for name in ("run", "sit")
    }
    unpack(
        write(
            tmp_path / "all.rar",
            stored_rar({f"{name}.rar": content for name, content in inner.items()}),
        ),
        tmp_path / "videos",
    )
    assert (tmp_path / "videos" / "run" / "clip_(1)!.avi").read_bytes() == b"run" * 100
    assert (tmp_path / "videos" / "sit" / "clip_(1)!.avi").exists()


def tarred(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as file:
        for info, content in members:
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def zip_link() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        info = zipfile.ZipInfo("a")
        info.external_attr = 0o120777 << 16
        file.writestr(info, "/etc/passwd")
    return buffer.getvalue()


def test_tar_and_unfinished_work(tmp_path):
    archive = write(
        tmp_path / "a.tar.gz",
        tarred((tarfile.TarInfo("x/one"), b"1" * 50), (tarfile.TarInfo("x/two"), b"2" * 50)),
    )
    (tmp_path / "out" / "x").mkdir(parents=True)
    (tmp_path / "out" / "x" / "one").write_bytes(b"1" * 50)
    before = (tmp_path / "out" / "x" / "one").stat().st_mtime_ns
    unpack(archive, tmp_path / "out")
    assert (tmp_path / "out" / "x" / "one").stat().st_mtime_ns == before
    assert (tmp_path / "out" / "x" / "two").read_bytes() == b"2" * 50


@pytest.mark.parametrize(
    "name, content, complaint",
    [
        ("up.zip", zipped(**{"ok": b"1", "../evil": b"2"}), "not a path inside"),
        ("absolute.zip", zipped(**{"/tmp/evil": b"2"}), "not a path inside"),
        ("windows.zip", zipped(**{"C:\\evil": b"2"}), "not a path inside"),
        ("link.zip", zip_link(), "'a' is a link"),
        ("up.tar.gz", tarred((tarfile.TarInfo("../evil"), b"2")), "not a path inside"),
        (
            "link.tar.gz",
            tarred((tarfile.TarInfo("ok"), b"1"), (link("a", "/etc"), b"")),
            "'a' is a link",
        ),
        ("hard.tar.gz", tarred((link("a", "/etc/passwd", tarfile.LNKTYPE), b"")), "'a' is a link"),
        (
            "device.tar.gz",
            tarred((link("a", "", tarfile.CHRTYPE), b"")),
            "'a' is a link or a device",
        ),
        ("up.rar", stored_rar({"ok": b"1", "../evil": b"2"}), "not a path inside"),
        ("link.rar", stored_rar({"a": b"/etc/passwd"}, attributes=0o120777), "'a' is a link"),
        ("bomb.zip", zipped(a=bytes(50_000_000)), "would grow from .* to 50,000,000 bytes"),
        ("half.zip", zipped(a=os.urandom(5000))[:3000], "cannot be unpacked"),
        ("text.zip", b"<html>404</html>", "cannot be unpacked"),
        ("empty.tar.gz", b"", "cannot be unpacked"),
    ],
    ids=lambda value: (
        "archive" if isinstance(value, bytes) else value
    ),  # its bytes hold the time, which differs between workers
)
def test_archives_that_are_refused(tmp_path, name, content, complaint):
    out = tmp_path / "a" / "b" / "out"
    with pytest.raises(DatasetError, match=complaint) as refusal:
        unpack(write(tmp_path / name, content), out)
    assert name in str(refusal.value)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != name]
