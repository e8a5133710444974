"""A stand-in for the Hugging Face Hub: a server on this machine that speaks its protocol."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from archive.worker_code import ROOT

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(http.server.BaseHTTPRequestHandler):
    """Serves the folder `files` as `owner/tiny` and knows nothing else; `owner/gated` needs a token."""

    files: dict[str, bytes]

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/api/models/owner/gated"):
            return self.reply(403, b"", {"X-Error-Code": "GatedRepo"})
        if not path.startswith(("/api/models/owner/tiny", "/owner/tiny/resolve/")):
            return self.reply(404, b"", {"X-Error-Code": "RepoNotFound"})
        if "/revision/nowhere" in path:
            return self.reply(404, b"", {"X-Error-Code": "RevisionNotFound"})
        if "/tree/" in path:
            entries = [
                {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                for name, data in self.files.items()
            ]
            return self.reply(200, json.dumps(entries).encode())
        if path.startswith("/api/"):
            siblings = [{"rfilename": name} for name in self.files]
            info = {"id": "owner/tiny", "sha": COMMIT, "private": False, "tags": [], "siblings": siblings}
            return self.reply(200, json.dumps(info).encode())
        data = self.files[path.rpartition("/")[2]]
        etag = f'"{hashlib.sha1(data).hexdigest()}"'
        return self.reply(200, data, {"ETag": etag, "X-Repo-Commit": COMMIT})

    def reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@contextmanager
def serve(files: Mapping[str, bytes]) -> Iterator[str]:
    """Serve files as the repository `owner/tiny` while the block runs; gives the hub's address."""
    Hub.files = dict(files)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def run_python(home: Path, endpoint: str, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run in a new process, since huggingface_hub reads its environment when it is imported."""
    environment = {**os.environ, "HF_HOME": str(home), "HF_ENDPOINT": endpoint, **more}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
