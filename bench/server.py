"""The served archive: time to readiness, latency, throughput and memory of a real TorchServe."""

import concurrent.futures
import re
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median, quantiles

import psutil

from archive.build import build
from archive.origin import Origin
from model.explain.explanation import MEANINGS
from serving import process
from serving.access import access_key
from serving.client import caption_over_grpc, caption_over_http
from serving.config import ServerConfig
from serving.startup import start
from training.progress import Progress

NAME = "captioner"
CONFIG = Path(__file__).parent.parent / "config.properties"
PORTS = ("8080", "8081", "8082", "7070", "7071")
WARM_UP, REQUESTS, CLIENTS = 10, 100, 8
BESIDE = 20
"""Captions that are asked for while another client has photos explained by one method."""


@dataclass(frozen=True, slots=True)
class ServerFigures:
    """What a client and an operator see."""

    ready: float  # s from the launch until the model is loaded
    http_p50: float  # ms, one client
    http_p95: float
    grpc_p50: float
    beside: dict[str, float]  # method → http_p50 while another client has photos explained, one by one
    photos_per_second: float  # eight clients at once
    worker_memory: float  # MB resident after all requests
    front_end_memory: float


def measure(checkpoint: Path, photo: bytes) -> ServerFigures:
    """Build an archive, serve it on free ports from a temporary folder, and ask it for captions."""
    requests = WARM_UP + 4 * REQUESTS + len(MEANINGS) * BESIDE
    with running(checkpoint) as (root, config, ready), Progress("server", requests, "request") as progress:
        key = access_key(root, "inference", config.management)

        def over_http(_: int = 0) -> float:
            began = time.perf_counter()
            caption_over_http(photo, NAME, config.inference, key)
            return 1000 * (time.perf_counter() - began)

        def over_grpc() -> float:
            began = time.perf_counter()
            caption_over_grpc(photo, NAME, config.grpc_inference, key)
            return 1000 * (time.perf_counter() - began)

        def explain(method: str) -> None:
            caption_over_http(photo, NAME, config.inference, key, {"explain": "true", "method": method})

        def repeat(ask: Callable[[], float], times: int) -> list[float]:
            found = []
            for _ in range(times):
                found.append(ask())
                progress.advance()
            return found

        repeat(over_http, WARM_UP)
        http = repeat(over_http, REQUESTS)
        grpc = repeat(over_grpc, REQUESTS)
        beside: dict[str, float] = {}
        for method in MEANINGS:
            explain(method)  # the first one loads what it needs
            with repeated(partial(explain, method)):
                beside[method] = median(repeat(over_http, BESIDE))
        with concurrent.futures.ThreadPoolExecutor(CLIENTS) as clients:
            began = time.perf_counter()
            for _ in clients.map(over_http, range(2 * REQUESTS)):
                progress.advance()
            rate = 2 * REQUESTS / (time.perf_counter() - began)
        server = process.find(root)
        assert server is not None
        return ServerFigures(
            ready=ready,
            http_p50=median(http),
            http_p95=quantiles(http, n=20)[-1],
            grpc_p50=median(grpc),
            beside=beside,
            photos_per_second=rate,
            worker_memory=sum(memory(child) for child in server.children(recursive=True)),
            front_end_memory=memory(server),
        )


@contextmanager
def repeated(action: Callable[[], object]) -> Iterator[None]:
    """Do something over and over, beside the block; an error of it ends the repetition, then the block."""
    done = threading.Event()

    def repeat() -> None:
        while not done.is_set():
            action()

    with concurrent.futures.ThreadPoolExecutor(1) as other:
        running = other.submit(repeat)
        try:
            yield
        finally:
            done.set()
        running.result()


@contextmanager
def running(checkpoint: Path) -> Iterator[tuple[Path, ServerConfig, float]]:
    """Serve a checkpoint while the block runs; yields folder, addresses and seconds to readiness."""
    root = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        build(Origin.of_folder(checkpoint), NAME, "1.0", root)
        (root / "config.properties").write_text(on_free_ports(CONFIG.read_text(encoding="utf-8")))
        config = ServerConfig.from_file(root / "config.properties")
        began = time.perf_counter()
        start(root, Path("config.properties"), [NAME], lambda _: None)
        yield root, config, time.perf_counter() - began
    finally:
        if (server := process.find(root)) is not None:
            process.end(server, root)
        with suppress(OSError):
            shutil.rmtree(root)


def on_free_ports(properties: str) -> str:
    """Replace the usual ports in `config.properties` by ones that nobody listens on."""
    with ExitStack() as stack:
        # All are held until each has its own: a port that was let go may be given again.
        sockets = [stack.enter_context(socket.socket()) for _ in PORTS]
        for opened in sockets:
            opened.bind(("127.0.0.1", 0))
        free = {usual: str(opened.getsockname()[1]) for usual, opened in zip(PORTS, sockets, strict=True)}
    return re.sub(rf"\b({'|'.join(PORTS)})\b", lambda usual: free[usual[0]], properties)


def memory(server: psutil.Process) -> float:
    """Resident memory of one process in MB."""
    return float(server.memory_info().rss) / 1e6
