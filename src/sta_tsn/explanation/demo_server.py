"""`sta-tsn demo`: a page on this machine that takes a video and shows its explanation.

The standard library's server, reachable from this machine alone. A video is received into a
temporary folder under a name of our own, looked at, and deleted; nothing that is received is taken
for a path, an address or HTML. Pages are kept in memory, the latest ones.
"""

import secrets
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from urllib.parse import unquote

from sta_tsn.errors import UserError
from sta_tsn.explanation.explain_command import shown_video
from sta_tsn.explanation.explained_video import explained_video, network_name
from sta_tsn.explanation.explanation_page import explanation_html, render
from sta_tsn.prediction.predictor import Model, load
from sta_tsn.video.timed_frames import length_fault

ADDRESS = "127.0.0.1"
PORT = 7860
MOST_BYTES = 200 * 2**20
MOST_SEC = 60
CAMERA_SEC = 4
MOST_PAGES = 8
LONGEST_NAME = 100
SILENT_SEC = 30  # a connection that sends nothing is closed
# FFmpeg's names of what videos come in: no playlists, which would name further files.
FORMATS = "mov,matroska,avi,mpeg,mpegvideo,mpegts,gif,flv,asf,ogg"
POLICY = (
    "default-src 'none'; img-src data:; media-src data: blob:; connect-src 'self'; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


def serve_demo(checkpoints: Sequence[str], port: int = PORT) -> None:
    """Serve the page until Ctrl-C.

    Args:
        checkpoints: one, or two whose streams are shown side by side.
        port: of 127.0.0.1; 0 takes a free one.

    Raises:
        UserError: the port is taken; a file is no checkpoint of the suite.
    """
    model = load(*checkpoints)
    for note in model.notes:
        print(note)
    try:
        server = DemoServer(model, port)
    except (OSError, OverflowError) as error:
        raise UserError(
            f"port {port} cannot be opened ({error}); give another one: --port=8000."
        ) from error
    with server:
        print(f"Open http://{ADDRESS}:{server.server_port} in a browser. Ctrl-C ends.", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("\nClosed.")


class DemoServer(ThreadingHTTPServer):
    """Answer this machine's browsers; networks look at one video at a time.

    Args:
        model: that explains.
        port: of 127.0.0.1; 0 takes a free one.
    """

    daemon_threads = True

    def __init__(self, model: Model, port: int):
        super().__init__((ADDRESS, port), _Visit)
        self.model = model
        self.looking = Lock()
        self.pages: OrderedDict[str, str] = OrderedDict()
        limits = {"bytes": MOST_BYTES, "camera_sec": CAMERA_SEC}
        content = {
            "networks": [network_name(stream) for stream in model.streams],
            "classes": model.classes,
            "most_sec": MOST_SEC,
            "most_mb": MOST_BYTES // 2**20,
            "limits": limits,
        }
        self.start_page = render("demo.html.j2", content)

    def explain(self, path: Path, name: str) -> str:
        """Return where the page of a received video is kept.

        Args:
            path: where the video lies.
            name: what the user calls it.

        Raises:
            UserError: it is too long, or cannot be read.
        """
        fault = length_fault(str(path), MOST_SEC, FORMATS)
        if fault:
            raise UserError(f"{name} {fault}")
        with self.looking:
            video = explained_video(self.model, str(path))
            shown = shown_video(video)
            page = explanation_html(replace(video, path=name), shown, back="/")
            place = f"/shown/{secrets.token_urlsafe(12)}"
            self.pages[place] = page
            while len(self.pages) > MOST_PAGES:
                self.pages.popitem(last=False)
        return place


class _Visit(BaseHTTPRequestHandler):
    server: DemoServer
    timeout = SILENT_SEC

    def do_GET(self) -> None:
        """Answer with the start page or a video's."""
        if not self._is_from_here():
            return
        if self.path == "/":
            self._answer(HTTPStatus.OK, self.server.start_page, "text/html")
        elif self.path in self.server.pages:
            self._answer(HTTPStatus.OK, self.server.pages[self.path], "text/html")
        else:
            self._answer(HTTPStatus.NOT_FOUND, "No such page. It may have been kept too long ago.")

    def do_POST(self) -> None:
        """Receive a video as the body, explain it, and answer where its page is."""
        if not self._is_from_here():
            return
        if self.path != "/explain":
            self._answer(HTTPStatus.NOT_FOUND, "Videos are sent to /explain.")
            return
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) == 0:
            self._answer(HTTPStatus.LENGTH_REQUIRED, "No video arrived; choose one.")
            return
        if int(length) > MOST_BYTES:
            told = f"The video has {int(length) // 2**20} MB; at most {MOST_BYTES // 2**20}."
            self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, told)
            return
        name = _shown_name(self.headers.get("X-File-Name", ""))
        try:
            place = self._explained(int(length), name)
        except UserError as error:
            self._answer(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
            return
        self._answer(HTTPStatus.CREATED, "", headers={"Location": place})

    def _explained(self, length: int, name: str) -> str:
        """Return where the page of the video is that the body holds; the video is deleted."""
        with TemporaryDirectory(prefix="sta-tsn-demo-") as folder:
            path = Path(folder, "video")
            try:
                self._receive(path, length)
                return self.server.explain(path, name)
            except UserError as error:
                reason = getattr(error, "reason", "") or str(error)
                raise UserError(reason.replace(str(path), name)) from error

    def _receive(self, path: Path, length: int) -> None:
        with path.open("wb") as file:
            while length > 0:
                part = self.rfile.read(min(length, 2**20))
                if not part:
                    raise UserError("the video broke off while it was sent; send it again.")
                file.write(part)
                length -= len(part)

    def _is_from_here(self) -> bool:
        """Return whether our own page asks; another site's, whatever its name, is turned away."""
        port = self.server.server_port
        hosts = (f"{ADDRESS}:{port}", f"localhost:{port}")
        origin = self.headers.get("Origin")
        if self.headers.get("Host") in hosts and origin in (None, *(f"http://{h}" for h in hosts)):
            return True
        self._answer(HTTPStatus.FORBIDDEN, f"Open http://{hosts[0]} on this machine.")
        return False

    def _answer(
        self,
        status: HTTPStatus,
        text: str,
        kind: str = "text/plain",
        headers: dict[str, str] | None = None,
    ) -> None:
        content = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, form: str, *values) -> None:
        """Print nothing: the page tells its user what happens."""


def _shown_name(sent: str) -> str:
    """Return what the page calls the video: the name that was sent, without folders."""
    name = unquote(sent).replace("\\", "/").rpartition("/")[2]
    printable = "".join(letter for letter in name if letter.isprintable())
    return printable[:LONGEST_NAME] or "video"
