"""The page that takes videos, by real requests: what it answers, and what it refuses."""

import tempfile
import threading
from http.client import HTTPConnection
from pathlib import Path

import pytest
import torch
from conftest import CLASSES, clip

import sta_tsn
from sta_tsn.datasets.demo import write_video
from sta_tsn.errors import UserError
from sta_tsn.explanation import demo_server
from sta_tsn.explanation.demo_server import DemoServer, serve_demo
from sta_tsn.tasks import TemporalAttentionTSN


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    small = {"name": "test_resnet", "options": {"output_stride": 16}}
    network = {"num_classes": 3, "backbone": small, "weights": "none"}
    task = TemporalAttentionTSN(list(CLASSES), network=network, hidden_dim=8)
    path = tmp_path_factory.mktemp("checkpoint") / "last.ckpt"
    state = {
        "state_dict": task.state_dict(),
        "hyper_parameters": dict(task.hparams),
        "pytorch-lightning_version": "2.6.0",
        "FeatureDataModule": {"frames": [2, 3]},
    }
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def server(checkpoint):
    serving = DemoServer(sta_tsn.load(checkpoint), port=0)
    thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield serving
    serving.shutdown()
    serving.server_close()
    thread.join()


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    write_video(path, clip(1, seed=1, num_frames=10), codec="libx264")
    return path.read_bytes()


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """Return where temporary files lie while a test runs; a request must leave none."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


def ask(server, method="GET", path="/", body=None, **headers):
    """Return status, text and headers of an answer."""
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text, answer.headers


def test_a_video_that_is_sent_gets_its_page(server, video):
    status, _, headers = ask(server, "POST", "/explain", video, X_File_Name="my%20clip.mp4")
    assert status == 201
    status, page, headers = ask(server, path=headers["Location"])
    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert "my clip.mp4" in page
    assert "data:video/mp4;base64," in page
    assert 'href="/">Another video' in page
    assert "Written beside this page" not in page


def test_the_start_page_says_what_it_takes_and_knows(server):
    status, page, headers = ask(server)
    assert status == 200
    assert "at most 60 s and 200 MB" in page
    assert "STA-TSN on test_resnet" in page
    assert "Jump, Run, Sit" in page
    assert "default-src 'none'" in headers["Content-Security-Policy"]


def test_a_name_is_text_and_no_path(server, video):
    name = "..%2F..%2Fetc%2F%3Cscript%3Ealert(1)%3C%2Fb%3E.mp4"
    _, _, headers = ask(server, "POST", "/explain", video, X_File_Name=name)
    _, page, _ = ask(server, path=headers["Location"])
    assert "<script>alert" not in page
    assert "etc" not in page.partition("<main>")[0]


def test_what_is_no_video_is_refused_in_one_sentence(server, temporary):
    status, text, _ = ask(server, "POST", "/explain", b"no video", X_File_Name="notes.txt")
    assert status == 422
    assert text.startswith("notes.txt is no video that can be read")
    assert str(temporary) not in text


def test_a_playlist_reads_no_file_of_this_machine(server, video, tmp_path):
    other = tmp_path / "secret.mp4"
    other.write_bytes(video)
    for listed in (f"ffconcat version 1.0\nfile '{other}'\n", f"#EXTM3U\n#EXTINF:1,\n{other}\n"):
        status, _, _ = ask(server, "POST", "/explain", listed.encode(), X_File_Name="list.m3u8")
        assert status == 422


def test_long_and_large_videos_are_refused_before_they_are_looked_at(server, video, monkeypatch):
    monkeypatch.setattr(demo_server, "MOST_SEC", 0.2)
    status, text, _ = ask(server, "POST", "/explain", video, X_File_Name="clip.mp4")
    assert status == 422
    assert text.startswith("clip.mp4 is longer than 0.2 s")
    monkeypatch.setattr(demo_server, "MOST_BYTES", 100)
    status, text, _ = ask(server, "POST", "/explain", video)
    assert status == 413
    status, text, _ = ask(server, "POST", "/explain", b"")
    assert status == 411


def test_other_sites_are_turned_away(server, video):
    assert server.server_address[0] == "127.0.0.1"
    status, _, _ = ask(server, "POST", "/explain", video, Origin="https://example.org")
    assert status == 403
    status, _, _ = ask(server, Host=f"example.org:{server.server_port}")
    assert status == 403


def test_old_pages_are_forgotten(server, video, monkeypatch):
    monkeypatch.setattr(demo_server, "MOST_PAGES", 1)
    _, _, first = ask(server, "POST", "/explain", video)
    _, _, second = ask(server, "POST", "/explain", video)
    assert ask(server, path=first["Location"])[0] == 404
    assert ask(server, path=second["Location"])[0] == 200


def test_a_port_that_is_taken(server, checkpoint):
    with pytest.raises(UserError, match="give another one: --port"):
        serve_demo([str(checkpoint)], server.server_port)


def test_a_file_that_is_no_checkpoint(tmp_path):
    path = Path(tmp_path, "notes.txt")
    path.write_text("no checkpoint")
    with pytest.raises(UserError):
        serve_demo([str(path)], 0)
