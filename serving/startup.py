"""From an archive to a server that captions: checks, launch, wait."""

import errno
import os
import re
import shutil
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import requests

from serving import process
from serving.access import access_key
from serving.config import Endpoint, ServerConfig
from serving.errors import ServingError

LIMIT = 120  # s until the model must be loaded
SOCKET_PATH_LIMIT = 103  # bytes; Linux takes 107, macOS 103
LOAD_FAILED = "Backend worker process died."  # TorchServe's words; it would try again for minutes
DISK_FULL = os.strerror(errno.ENOSPC)
REASON = re.compile(r"(?:[\w.$]+(?:Error|Exception)|Invalid configuration): .*")
"""The telling line of a Python or Java traceback, and TorchServe's own words."""


def start(root: Path, config_path: Path, names: Sequence[str], progress: Callable[[float], None]) -> None:
    """Start a server in `root` with the models `names` and return once all are loaded.

    `progress` is told the seconds since the launch while waiting. Raises ServingError,
    and then leaves nothing running.
    """
    config = ServerConfig.from_file(root / config_path)
    check(root, config, names)
    process.launch(root, config_path, names)
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


def check(root: Path, config: ServerConfig, names: Sequence[str]) -> None:
    """Raise ServingError for what would keep a server from starting."""
    size = 0
    for name in names:
        if not (root / f"{name}.mar").is_file():
            raise ServingError(f"{name}.mar does not exist: `make archive NAME={name}` builds it")
        size += (root / f"{name}.mar").stat().st_size  # stored as it is, and extracted once more
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
