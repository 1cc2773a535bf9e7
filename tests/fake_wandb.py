"""As much of W&B's server as one run needs, on loopback.

It remembers what arrives by GraphQL, file stream and uploads.
"""

import gzip
import json
import re
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class FakeRun:
    """Hold what the server knows of one run.

    Args:
        starts: UpsertBucket of each process.
        resumed: how often a process asked for the run to go on with it.
        config: the run's settings.
        history: rows by line number.
        summary: the run's last values.
        files: names of what was uploaded.
        artifacts: their names.
        sweep: its id.
        state: as W&B names it.
    """

    starts: list[dict] = field(default_factory=list)
    resumed: int = 0
    config: dict = field(default_factory=dict)
    history: dict[int, dict] = field(default_factory=dict)
    summary: dict = field(default_factory=dict)
    files: set[str] = field(default_factory=set)
    artifacts: list[str] = field(default_factory=list)
    sweep: str | None = None
    state: str = "finished"


class FakeWandb(ThreadingHTTPServer):
    """Serve in a thread of this process.

    `runs` and the files of `sweeps` are kept by id; `unknown` names the operations that were
    answered with nothing.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.runs: dict[str, FakeRun] = defaultdict(FakeRun)
        self.sweeps: dict[str, str] = {}
        self.unknown: set[str] = set()
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def environment(self) -> dict[str, str]:
        return {
            "WANDB_BASE_URL": self.url,
            "WANDB_API_KEY": "0" * 40,
            "WANDB_MODE": "online",
            "NO_PROXY": "127.0.0.1",
        }

    def answer(self, operation: str, given: dict) -> dict:  # noqa: C901 (a case a request)
        project = {"id": "p", "name": given.get("project"), "entity": {"id": "e", "name": "me"}}
        match operation:
            case "GetSweep" | "GetSweepLegacy":
                sweep = None
                if given["name"] in self.sweeps:
                    file = self.sweeps[given["name"]]
                    sweep = {"id": "s", "name": given["name"], "config": file}
                return {"project": {"sweep": sweep}}
            case "Runs":
                (asked,) = json.loads(given["filters"])["$and"]
                names = [name for name, run in self.runs.items() if run.sweep == asked["sweep"]]
                edges = [{"node": self._as_listed(name), "cursor": name} for name in names]
                page = {"hasNextPage": False, "endCursor": None}
                runs = {"edges": edges, "pageInfo": page}
                return {"project": {"runCount": len(names), "runs": runs}}
            case "Run":
                return {"project": {"run": self._as_listed(given["name"])}}
            case "RunHistoryKeys":
                last = max(self.runs[given["name"]].history, default=-1)
                return {"project": {"run": {"historyKeys": {"lastStep": last}}}}
            case "RunParquetHistory":
                return {"project": {"run": {"parquetHistory": {"parquetUrls": [], "liveData": []}}}}
            case "HistoryPage":
                rows = []
                for line, row in self.runs[given["run"]].history.items():
                    if given["minStep"] <= line < given["maxStep"]:
                        rows.append(json.dumps({**row, "_step": line}))
                return {"project": {"run": {"history": rows}}}
            case "Viewer" | "GetDefaultEntity":
                return {
                    "viewer": {
                        "id": "u",
                        "entity": "me",
                        "username": "me",
                        "email": "",
                        "flags": "{}",
                        "teams": {"edges": []},
                    }
                }
            case "RunResumeStatus":
                return {"model": {**project, "bucket": self._resume_status(given["name"])}}
            case "UpsertBucket":
                run = self.runs[given["name"]]
                run.starts.append(given)
                for key, value in json.loads(given["config"] or "{}").items():
                    if key != "_wandb":
                        run.config[key] = value["value"]
                bucket = {
                    "id": "b",
                    "name": given["name"],
                    "displayName": given["displayName"],
                    "config": "{}",
                    "project": project,
                    "historyLineCount": len(run.history),
                }
                return {"upsertBucket": {"bucket": bucket, "inserted": True}}
            case "CreateRunFiles":
                place = f"{self.url}/upload/{given['run']}"
                files = [{"name": name, "uploadUrl": f"{place}/{name}"} for name in given["files"]]
                return {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}}
            case "CreateArtifact":  # COMMITTED: the server has these very files already
                named = given["input"]
                self.runs[named["runName"]].artifacts.append(named["artifactCollectionName"])
                sequence = {"latestArtifact": None}
                artifact = {"id": "a", "state": "COMMITTED", "artifactSequence": sequence}
                return {"createArtifact": {"artifact": artifact}}
            case "ArtifactType":  # of which type is the artifact of this name?
                return {"project": {"artifact": None}}
        self.unknown.add(operation)
        return {}

    def _as_listed(self, name: str) -> dict:
        run = self.runs[name]
        config = json.dumps({key: {"value": value} for key, value in run.config.items()})
        about = {
            "id": "b",
            "projectId": 1,
            "name": name,
            "displayName": name,
            "sweepName": run.sweep,
            "state": run.state,
            "tags": [],
        }
        return {
            **about,
            "config": config,
            "summaryMetrics": json.dumps(run.summary),
            "historyLineCount": len(run.history),
        }

    def _resume_status(self, name: str) -> dict | None:
        if name not in self.runs:
            return None
        run = self.runs[name]
        run.resumed += 1
        tail = json.dumps([json.dumps(run.history[max(run.history)])] if run.history else [])
        config = json.dumps({key: {"value": value} for key, value in run.config.items()})
        counts = {
            "logLineCount": 0,
            "historyLineCount": len(run.history),
            "eventsLineCount": 0,
            "historyTail": tail,
            "eventsTail": "[]",
        }
        about = {
            "id": "b",
            "name": name,
            "displayName": None,
            "tags": [],
            "notes": None,
            "wandbConfig": "{}",
        }
        return {**about, **counts, "config": config, "summaryMetrics": json.dumps(run.summary)}

    def stream(self, name: str, files: dict) -> None:
        run = self.runs[name]
        for file, part in files.items():
            if file == "wandb-history.jsonl":
                rows = [json.loads(line) for line in part["content"]]
                run.history |= dict(enumerate(rows, part["offset"]))
            elif file == "wandb-summary.json":
                run.summary |= json.loads(part["content"][-1])


class _Handler(BaseHTTPRequestHandler):
    server: FakeWandb

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        found: dict = {}
        if self.path == "/graphql":
            asked = json.loads(body)
            operation = (
                asked.get("operationName")
                or re.search(r"(?:query|mutation) (\w+)", asked["query"])[1]
            )
            found = {"data": self.server.answer(operation, asked.get("variables") or {})}
        elif self.path.endswith("/file_stream"):
            self.server.stream(self.path.split("/")[-2], json.loads(body).get("files") or {})
        elif self.path.startswith("/upload/"):
            run, _, file = self.path.removeprefix("/upload/").partition("/")
            self.server.runs[run].files.add(file)
        text = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_PUT = do_POST

    def log_message(self, *_) -> None:
        pass
