"""Against a small server that answers as TorchServe does; a real one is asked in tests/serving."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

from serving.config import ServerConfig
from serving.temporary import write_properties
from tests.training.tiny_data import write_data
from training.data.captions import CaptionSet, read_captions
from training.errors import ScoringError
from training.evaluation import served
from training.evaluation.served import caption_with_server, key_for, server_url

Answer = tuple[int, bytes]


def caption_for(photo: bytes) -> str:
    return f"a caption of {hashlib.sha256(photo).hexdigest()}"


class FakeServer(ThreadingHTTPServer):
    """Captions any body; `answers` has other replies for some of them, first come first served."""

    def __init__(self) -> None:
        self.answers: dict[bytes, list[Answer]] = {}
        self.before: Callable[[], object] = lambda: None
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), Conversation)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self, path: str, key: str | None, body: bytes) -> Answer:
        if key != "Bearer good":
            message = "Token Authorization failed. Token either incorrect, expired, or not provided correctly"
            return 400, json.dumps({"code": 400, "type": "InvalidKeyException", "message": message}).encode()
        if path != "/predictions/my%20model":
            return 404, b'{"code": 404, "type": "ModelNotFoundException", "message": "Model not found: x"}'
        self.before()
        with self.lock:
            if self.answers.get(body):
                return self.answers[body].pop(0)
        return 200, json.dumps({"caption": caption_for(body), "score": -1.0}).encode()


class Conversation(BaseHTTPRequestHandler):
    server: FakeServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status, reply = self.server.answer(self.path, self.headers["Authorization"], body)
        self.send_response(status)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def photos(tmp_path: Path) -> CaptionSet:
    return read_captions(write_data(tmp_path / "data"), "dev")


def bytes_of(photos: CaptionSet, index: int) -> bytes:
    return (photos.images / photos.names[index]).read_bytes()


def test_every_photo_gets_its_own_caption(server: FakeServer, photos: CaptionSet) -> None:
    found = caption_with_server(server.url, "my model", lambda: "good", photos)
    assert found.captions == {10 + i: caption_for(bytes_of(photos, i)) for i in range(4)}
    assert not found.failures
    assert found.seconds > 0


def test_several_requests_are_in_flight(server: FakeServer, photos: CaptionSet) -> None:
    together = threading.Barrier(4, timeout=10)  # breaks unless all four are there at once
    server.before = together.wait
    assert len(caption_with_server(server.url, "my model", lambda: "good", photos).captions) == 4


def test_a_failure_is_that_of_its_photo(server: FakeServer, photos: CaptionSet) -> None:
    error = {"error": {"code": 415, "type": "not_an_image", "message": "the data is no photo"}}
    server.answers = {
        bytes_of(photos, 0): [(415, json.dumps(error).encode())],
        bytes_of(photos, 1): [(413, b"")],
        bytes_of(photos, 2): [(507, b'{"code": 507, "type": "x", "message": "Worker died."}')],
    }
    found = caption_with_server(server.url, "my model", lambda: "good", photos)
    assert found.failures == {
        10: "415: the data is no photo",
        11: "413: larger than the server's max_request_size",
        12: "507: Worker died.",
    }
    assert list(found.captions) == [13]


@pytest.mark.parametrize("reply", [b"<html>", b"[1]", b'{"caption": 7}', b"null"])
def test_a_reply_without_a_caption_is_a_failure(server: FakeServer, photos: CaptionSet, reply: bytes) -> None:
    server.answers = {bytes_of(photos, 3): [(200, reply)]}
    found = caption_with_server(server.url, "my model", lambda: "good", photos)
    assert list(found.failures) == [13]
    assert found.failures[13].startswith("200: ")


def test_a_photo_that_is_gone_is_named(server: FakeServer, photos: CaptionSet) -> None:
    (photos.images / photos.names[1]).unlink()
    found = caption_with_server(server.url, "my model", lambda: "good", photos)
    assert "cannot be read" in found.failures[11]
    assert list(found.captions) == [10, 12, 13]


def test_a_full_queue_is_waited_for(
    server: FakeServer, photos: CaptionSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "PAUSES", (0.01, 0.01))
    busy = (503, b'{"code": 503, "type": "ServiceUnavailableException", "message": "no worker"}')
    server.answers = {bytes_of(photos, 0): [busy] * 2, bytes_of(photos, 1): [busy] * 3}
    found = caption_with_server(server.url, "my model", lambda: "good", photos)
    assert list(found.captions) == [10, 12, 13]
    assert found.failures == {11: "503: no worker"}


def test_what_every_photo_would_meet_ends_it(server: FakeServer, photos: CaptionSet) -> None:
    with pytest.raises(ScoringError, match=r"refuses \(400\): Token Authorization failed"):
        caption_with_server(server.url, "my model", lambda: None, photos)
    with pytest.raises(ScoringError, match=r"refuses \(404\): Model not found"):
        caption_with_server(server.url, "other", lambda: "good", photos)
    server.server_close()
    with pytest.raises(ScoringError, match="no server answers at http"):
        caption_with_server(server.url, "my model", lambda: "good", photos)


def test_a_host_that_does_not_answer_ends_it(monkeypatch: pytest.MonkeyPatch, photos: CaptionSet) -> None:
    def post(*arguments: object, **named: object) -> requests.Response:
        raise requests.ConnectTimeout

    monkeypatch.setattr(requests, "post", post)
    with pytest.raises(
        ScoringError, match=r"no server answers at http://10\.0\.0\.1/.*: no connection within"
    ):
        caption_with_server("http://10.0.0.1", "my model", lambda: "good", photos)


def test_a_server_that_is_too_slow_is_a_failure(
    server: FakeServer, photos: CaptionSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "TIMEOUT", 0.2)
    go_on = threading.Event()
    server.before = lambda: go_on.wait(10)
    try:
        found = caption_with_server(server.url, "my model", lambda: "good", photos)
    finally:
        go_on.set()
    assert set(found.failures.values()) == {"no answer within 0.2 s"}
    assert len(found.failures) == 4


@pytest.mark.parametrize(
    "url",
    ["localhost:8080", "ftp://a", "http://", "", "http://a?b=1", "http://a:99999", "http://a:b", "http://[a"],
)
def test_a_url_is_needed(url: str) -> None:
    with pytest.raises(ScoringError, match=r"is not http://HOST:PORT"):
        server_url(url)
    assert server_url("https://captions.example/api/") == "https://captions.example/api"


def test_the_key_of_this_server_goes_to_it_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(served.KEY_VARIABLE, raising=False)
    assert key_for("http://localhost:1", tmp_path)() is None  # no server was ever configured here
    write_properties(tmp_path)
    own = ServerConfig.from_file(tmp_path / "config.properties").inference
    expires = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    content = {"inference": {"key": "secret", "expiration time": expires}}
    (tmp_path / "key_file.json").write_text(json.dumps(content))
    assert key_for(own.url, tmp_path)() == "secret"
    assert key_for(f"http://localhost:{own.port}", tmp_path)() == "secret"
    for foreign in (f"http://example.org:{own.port}", f"http://localhost:{own.port + 1}", "http://localhost"):
        assert key_for(foreign, tmp_path)() is None
    monkeypatch.setenv(served.KEY_VARIABLE, "given")
    assert key_for("http://example.org", tmp_path)() == "given"
    assert key_for(own.url, tmp_path)() == "given"


def test_a_missing_key_file_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(served.KEY_VARIABLE, raising=False)
    write_properties(tmp_path)
    own = ServerConfig.from_file(tmp_path / "config.properties").inference
    with pytest.raises(ScoringError, match=r"no key in key_file\.json"):
        key_for(own.url, tmp_path)()
