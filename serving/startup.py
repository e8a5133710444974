"""From an archive to a server that captions: checks, launch, wait."""

import errno
import os
import re
import shutil
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import requests

from serving import process
from serving.access import access_key
from serving.config import Endpoint, ServerConfig
from serving.errors import ServingError
from serving.store import Archive, keep, keep_only, stored
from serving.versions.state import State

LIMIT = 120  # s until the model must be loaded
SOCKET_PATH_LIMIT = 103  # bytes; Linux takes 107, macOS 103
LOAD_FAILED = "Backend worker process died."  # TorchServe's words; it would try again for minutes
DISK_FULL = os.strerror(errno.ENOSPC)
REASON = re.compile(r"(?:[\w.$]+(?:Error|Exception)|Invalid configuration): .*")
"""The telling line of a Python or Java traceback, and TorchServe's own words."""


def start(
    root: Path, config_path: Path, archives: Sequence[Archive], progress: Callable[[float], None]
) -> None:
    """Start a server in `root` with a model of each archive and return once all are loaded.

    The store has copies of them afterwards. `progress` is told the seconds since the launch while waiting.
    Raises ServingError, and then leaves nothing running.
    """
    config = ServerConfig.from_file(root / config_path)
    check(root, config, archives)
    names = [archive.name for archive in archives]
    copies = {archive.name: keep(root, archive) for archive in archives}
    before = {name: State.read(root, name).previous for name in names}
    for_rollback = {stored(root, name, version) for name, version in before.items() if version is not None}
    keep_only(root, for_rollback | set(copies.values()))
    process.launch(root, config_path, {name: copy.name for name, copy in copies.items()})
    launched = time.monotonic()
    server = process.find(root)
    if server is None:
        raise ServingError(failure(root, "TorchServe ended at once"))
    try:
        while not all(loaded(root, config, name) for name in names):
            waited = time.monotonic() - launched
            progress(waited)
            if not server.is_running() or server.status() == psutil.STATUS_ZOMBIE:
                raise ServingError(failure(root, "TorchServe ended"))
            if LOAD_FAILED in log(root, "model.log"):
                raise ServingError(failure(root, "the model cannot be loaded"))
            if waited > LIMIT:
                raise ServingError(failure(root, f"the model was not loaded within {LIMIT} s"))
            time.sleep(0.2)
    except BaseException:  # an interrupt from the keyboard included
        process.end(server, root)
        raise


def check(root: Path, config: ServerConfig, archives: Sequence[Archive]) -> None:
    """Raise ServingError for what would keep a server from starting."""
    twice = [name for name, count in Counter(archive.name for archive in archives).items() if count > 1]
    if twice:
        raise ServingError(f"{twice[0]} is the model of two archives: serve one, and roll out the other")
    size = 2 * sum(archive.path.stat().st_size for archive in archives)  # copied, and extracted
    if not os.access(root, os.W_OK):
        raise ServingError(f"{root} cannot be written to, and TorchServe keeps its key and its logs there")
    free = shutil.disk_usage(root).free
    if free < size:
        raise ServingError(
            f"the disk is full: {free / 1e6:.1f} MB are free, and the models take {size / 1e6:.1f} MB more"
        )
    socket_path = root / process.TEMPORARY / ".ts.sock.9000"
    if len(os.fsencode(socket_path)) > SOCKET_PATH_LIMIT:
        raise ServingError(f"{root} is too long a path for TorchServe's sockets: move the folder")
    if process.find(root):
        raise ServingError("the server is running already: `make stop` ends it")
    for endpoint in config:
        if in_use(endpoint):
            raise ServingError(
                f"port {endpoint.port} is in use: end what listens on {endpoint}, "
                "or choose another port in config.properties"
            )


def in_use(endpoint: Endpoint) -> bool:
    """Whether something listens on an address; raises ServingError where nothing could."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((endpoint.host, endpoint.port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return True
            raise ServingError(f"nothing can listen on {endpoint}: {error.strerror}") from None
    return False


def loaded(root: Path, config: ServerConfig, name: str) -> bool:
    """Whether a worker has loaded the model; TorchServe's /ping is healthy long before.

    Raises ServingError where TorchServe came up without the model.
    """
    try:
        key = access_key(root, "management", config.management)
        headers = {"Authorization": f"Bearer {key}"}
        answer = requests.get(f"{config.management.url}/models/{name}", headers=headers, timeout=5)
    except (ServingError, requests.RequestException):
        return False  # the front end itself is still starting
    if answer.status_code == requests.codes.not_found:
        raise ServingError(failure(root, f"{name}.mar cannot be read"))
    return answer.ok and any(worker["status"] == "READY" for worker in answer.json()[0]["workers"])


def failure(root: Path, what: str) -> str:
    """One line: what failed, the reason that a log gives, and where that log is."""
    for name in ("console.log", "server.log", "model.log"):
        for line in log(root, name).splitlines():
            if DISK_FULL in line:
                return f"the disk is full: {line.strip()} ({process.LOGS}/{name})"
    # The workers' last exception tells most; of the front end's, the first caused the others.
    for name, which in (("model.log", -1), ("console.log", 0), ("server.log", 0)):
        reasons = REASON.findall(log(root, name))
        if reasons:
            return f"{what}: {reasons[which]} ({process.LOGS}/{name})"
    return f"{what} ({process.LOGS})"


def log(root: Path, name: str) -> str:
    """Return what one of the server's logs holds so far."""
    try:
        return (root / process.LOGS / name).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
