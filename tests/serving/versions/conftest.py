"""A small server with TorchServe's management API, that can be told to fail at one step."""

import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zipfile import ZipFile

import pytest

from serving import process
from serving.access import KEY_FILE
from serving.config import Endpoint, ServerConfig
from serving.store import Archive
from serving.versions import compare, watch, workers
from serving.versions.management import Management
from serving.versions.probe import Probe

KEY = {"key": "good", "expiration time": "2099-01-01T00:00:00Z"}
NO_PID = 2**22 + 1  # above what Linux gives


@dataclass
class Fake:
    """The state of the fake, and what it does wrong."""

    root: Path
    loaded: dict[str, int] = field(default_factory=lambda: {"1.0": 1})  # version → workers
    default: str = "1.0"
    calls: list[str] = field(default_factory=list)  # that change something
    refuses: str = ""  # part of a call: it gets a 500
    never_ready: bool = False
    captions: dict[str, str] = field(default_factory=dict)  # of a version that says another thing
    delays: dict[str, float] = field(default_factory=dict)  # s of a version
    fails: set[str] = field(default_factory=set)  # versions that answer 500
    fails_as_default: set[str] = field(default_factory=set)
    lost: int = 0  # requests of clients that got a 500

    def manage(self, method: str, path: str, query: dict[str, str]) -> tuple[int, Any]:
        if method == "GET":
            asked = self.loaded if path == "/models/tiny/all" else [self.default]
            return 200, [self.described(version) for version in asked]
        self.calls.append(f"{method} {path}")
        if self.refuses and self.refuses in self.calls[-1]:
            return 500, {"code": 500, "type": "InternalServerException", "message": "it broke"}
        return self.change(method, path, query)

    def change(self, method: str, path: str, query: dict[str, str]) -> tuple[int, Any]:
        if method == "POST":
            version = query["url"].removesuffix(".mar").rpartition("-")[2]
            self.loaded[version] = 1  # TorchServe heeds the archive's minWorkers, not initial_workers
            return 202, {"status": "Processing worker updates..."}
        version = path.split("/")[3]
        if version not in self.loaded:
            return 404, {"message": f"Model version: {version} does not exist"}
        if path.endswith("set-default"):
            self.default = version
        elif method == "PUT":
            self.loaded[version] = int(query["min_worker"])
        elif version == self.default:
            return 403, {"message": "Cannot remove default version for model tiny"}
        else:
            del self.loaded[version]
        return 200, {"status": "done"}

    def described(self, version: str) -> dict[str, Any]:
        status = "UNLOADING" if self.never_ready and version != self.default else "READY"
        count = self.loaded[version]
        each = {"status": status, "pid": NO_PID}
        url = f"tiny-{version}.mar"
        return {"modelVersion": version, "modelUrl": url, "minWorkers": count, "workers": [each] * count}

    def predict(self, path: str) -> tuple[int, Any]:
        asked = re.fullmatch(r"/predictions/tiny/(.+)", path)
        version = asked[1] if asked else self.default
        threading.Event().wait(self.delays.get(version, 0.0))
        if version in self.fails or (not asked and version in self.fails_as_default):
            self.lost += 1
            return 500, {"code": 500, "type": "InternalServerException", "message": "Worker died."}
        caption = self.captions.get(version, "a dog")
        return 200, {"caption": caption, "score": -1.0, "model": {"name": "tiny", "version": version}}


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    (tmp_path / KEY_FILE).write_text(json.dumps({"inference": KEY, "management": KEY, "API": KEY}))
    (tmp_path / process.LOGS).mkdir(parents=True)
    (tmp_path / process.STORE).mkdir()
    write_archive(tmp_path / process.STORE / "tiny-1.0.mar", "1.0")
    return Fake(tmp_path)


@pytest.fixture
def config(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServerConfig]:
    """Serve the fake, and have nobody wait long for it."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            url = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            if url.path == "/metrics":
                reply = f'Requests5XX{{Level="Host",Hostname="x",}} {float(fake.lost)}\n'.encode()
                status = 200
            else:
                assert self.headers["Authorization"] == "Bearer good"
                if url.path.startswith("/models"):
                    status, body = fake.manage(self.command, url.path, query)
                else:
                    status, body = fake.predict(url.path)
                reply = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setattr(process, "IDLE", 0.0)
    monkeypatch.setattr(workers, "PERIOD", 0.01)
    monkeypatch.setattr(workers, "LIMIT", 0.3)
    monkeypatch.setattr(watch, "PERIOD", 0.01)
    monkeypatch.setattr(compare, "REPEATS", 2)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        here = Endpoint("127.0.0.1", server.server_address[1])
        yield ServerConfig(here, here, here, here, here)
        server.shutdown()
        thread.join()


@pytest.fixture
def told() -> list[str]:
    """The lines that an operator sees."""
    return []


@pytest.fixture
def management(fake: Fake, config: ServerConfig, told: list[str]) -> Management:
    return Management(fake.root, config, "tiny", told.append)


@pytest.fixture
def probe(fake: Fake, config: ServerConfig) -> Probe:
    return Probe(fake.root, config, "tiny")


def write_archive(path: Path, version: str, weights: str = "") -> Archive:
    with ZipFile(path, "w") as archive:
        model = {"modelName": "tiny", "modelVersion": version}
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps({"model": model}))
        archive.writestr("checkpoint/model.safetensors", weights)
    return Archive.from_file(path)


@pytest.fixture
def new(tmp_path: Path) -> Archive:
    return write_archive(tmp_path / "tiny-2.0.mar", "2.0")
