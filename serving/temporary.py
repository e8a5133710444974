"""A server on free ports, in a folder of its own, for as long as a block of code runs."""

import re
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from archive.build import build
from archive.origin import Origin
from serving import process
from serving.access import access_key
from serving.config import ServerConfig
from serving.startup import start
from serving.store import Archive

PROPERTIES = Path("config.properties")  # in the server's folder
SHIPPED = Path(__file__).parent.parent / PROPERTIES
NAME = "captioner"
PORTS = ("8080", "8081", "8082", "7070", "7071")


@dataclass(frozen=True)
class Server:
    """A server that answers: its model, where it runs and listens, and how long it took to get ready."""

    root: Path
    name: str
    config: ServerConfig
    ready: float  # s from the launch until its model was loaded

    @property
    def url(self) -> str:
        """Where photos are sent."""
        return f"{self.config.inference.url}/predictions/{self.name}"

    def key(self) -> str:
        """Return a key for inference that is valid now."""
        return access_key(self.root, "inference", self.config.management)

    def headers(self) -> dict[str, str]:
        """Return what a client sends with every call over HTTP."""
        return {"Authorization": f"Bearer {self.key()}"}

    def log(self, name: str) -> str:
        """Read one of its log files."""
        return (self.root / process.LOGS / name).read_text()


@contextmanager
def served_checkpoint(checkpoint: Path) -> Iterator[Server]:
    """Pack a checkpoint folder, and serve it while the block runs."""
    with tempfile.TemporaryDirectory(prefix="server-", ignore_cleanup_errors=True) as scratch:
        build(Origin.of_folder(checkpoint), NAME, "1.0", Path(scratch))
        write_properties(Path(scratch))
        with served_archive(Path(scratch), NAME) as server:
            yield server


@contextmanager
def served_archive(folder: Path, name: str) -> Iterator[Server]:
    """Serve NAME.mar of a folder, by its `config.properties`, while the block runs.

    Raises ServingError where it does not start.
    """
    began = time.perf_counter()
    try:
        start(folder, PROPERTIES, [Archive.from_file(folder / f"{name}.mar")], lambda _: None)
        ready = time.perf_counter() - began
        yield Server(folder, name, ServerConfig.from_file(folder / PROPERTIES), ready)
    finally:
        if (server := process.find(folder)) is not None:
            process.end(server, folder)


def write_properties(folder: Path) -> None:
    """Write the `config.properties` that ships into a folder, with ports that nobody listens on.

    The list of metrics that it names is the one that ships, too.
    """
    text = SHIPPED.read_text(encoding="utf-8").replace("=serving/", f"={SHIPPED.parent}/serving/")
    (folder / PROPERTIES).write_text(_on_free_ports(text))


def _on_free_ports(properties: str) -> str:
    with ExitStack() as stack:
        # All are held until each has its own: a port that was let go may be given again.
        sockets = [stack.enter_context(socket.socket()) for _ in PORTS]
        for opened in sockets:
            opened.bind(("127.0.0.1", 0))
        free = {usual: str(opened.getsockname()[1]) for usual, opened in zip(PORTS, sockets, strict=True)}
    return re.sub(rf"\b({'|'.join(PORTS)})\b", lambda usual: free[usual[0]], properties)
