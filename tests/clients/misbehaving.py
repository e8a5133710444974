"""A small captioning server that does as it is told: the first requests meet what a test has planned.

What is not planned it answers as the real one does; a photo's caption is the photo itself, read as text.
"""

import json
import socket
import struct
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

EXPIRED = "Token Authorization failed. Token either incorrect, expired, or not provided correctly"


@dataclass(frozen=True)
class Received:
    """One request."""

    path: str
    key: str | None
    photos: list[str]
    options: dict[str, Any]
    agent: str | None


Plan = Callable[[BaseHTTPRequestHandler, Received], None]


@dataclass
class Misbehaving:
    """Where it listens, what it is going to do, and what it was sent."""

    url: str
    plans: list[Plan] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)


def photo_reply(text: str) -> dict[str, Any]:
    token = {"text": text, "logprob": -0.5}
    word = {"text": text, "start": 0, "end": len(text), "tokens": [0], "logprob": -0.5}
    return {
        "caption": text,
        "score": -0.5,
        "captions": [{"caption": text, "score": -0.5, "tokens": [token], "words": [word]}],
    }


def send(handler: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def answer(handler: BaseHTTPRequestHandler, received: Received) -> None:
    model = {"name": "captioner", "version": "1.0"}
    replies = [photo_reply(photo) for photo in received.photos]
    single = {**replies[0], "model": model}
    several = {"predictions": replies, "model": model}
    told = several if handler.headers["Content-Type"] == "application/json" else single
    send(handler, 200, json.dumps(told).encode())


def says(status: int, body: object = b"", **headers: str) -> Plan:
    """Answer with a status and a body, JSON unless it is bytes."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return lambda handler, received: send(handler, status, raw, **headers)


def torchserve(status: int, kind: str, message: str) -> Plan:
    return says(status, {"code": status, "type": kind, "message": message})


def error(status: int, kind: str, message: str = "", field: str | None = None) -> dict[str, Any]:
    told = {"code": status, "type": kind, "message": message}
    return {"error": told if field is None else {**told, "field": field}}


def drops(handler: BaseHTTPRequestHandler, received: Received) -> None:
    """Break the connection without an answer, by a reset."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.wfile = handler.rfile = open("/dev/null", "r+b", buffering=0)  # type: ignore[assignment]  # noqa: PTH123, SIM115


def breaks_off(handler: BaseHTTPRequestHandler, received: Received) -> None:
    """End in the middle of an answer."""
    send(handler, 200, b'{"caption": "a d', Content_Length="1000")
    handler.close_connection = True


def slow(seconds: float) -> Plan:
    """Answer as it should, too late."""

    def plan(handler: BaseHTTPRequestHandler, received: Received) -> None:
        time.sleep(seconds)
        answer(handler, received)

    return plan


def wants(key: str) -> Plan:
    """Answer where the key is right, else as TorchServe does."""

    def plan(handler: BaseHTTPRequestHandler, received: Received) -> None:
        refuse = torchserve(400, "InvalidKeyException", EXPIRED)
        (answer if received.key == f"Bearer {key}" else refuse)(handler, received)

    return plan


@contextmanager
def misbehaving() -> Iterator[Misbehaving]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received = read(self, body)
            server.received.append(received)
            (server.plans.pop(0) if server.plans else answer)(self, received)

        def log_message(self, *arguments: object) -> None:
            pass

        def handle(self) -> None:
            with suppress(ConnectionError, ValueError):  # the client went away, or was thrown out
                super().handle()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        server = Misbehaving(f"http://127.0.0.1:{listening.server_port}")
        Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01}).start()
        try:
            yield server
        finally:
            listening.shutdown()


def read(handler: BaseHTTPRequestHandler, body: bytes) -> Received:
    headers = handler.headers
    if headers["Content-Type"] == "application/json":
        document = json.loads(body)
        photos = [b64decode(photo).decode() for photo in document.pop("instances")]
        options = document["options"]
    else:
        head = f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode()
        parts: dict[object, bytes] = {}
        for part in BytesParser(policy=HTTP).parsebytes(head + body).iter_parts():
            content = part.get_payload(decode=True)
            assert isinstance(content, bytes)
            parts[part.get_param("name", header="content-disposition")] = content
        photos = [parts["image"].decode()]
        options = json.loads(parts.get("options", b"{}"))
    return Received(handler.path, headers["Authorization"], photos, options, headers["User-Agent"])
