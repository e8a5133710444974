"""The served archive: time to readiness, latency, throughput and memory of a real TorchServe."""

import concurrent.futures
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median, quantiles

import psutil

from model.explain.explanation import MEANINGS
from serving import process
from serving.client import caption_over_grpc, caption_over_http
from serving.temporary import served_checkpoint
from training.progress import Progress

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
    with served_checkpoint(checkpoint) as target, Progress("server", requests, "request") as progress:
        config, name, key = target.config, target.name, target.key()

        def over_http(_: int = 0) -> float:
            began = time.perf_counter()
            caption_over_http(photo, name, config.inference, key)
            return 1000 * (time.perf_counter() - began)

        def over_grpc() -> float:
            began = time.perf_counter()
            caption_over_grpc(photo, name, config.grpc_inference, key)
            return 1000 * (time.perf_counter() - began)

        def explain(method: str) -> None:
            caption_over_http(photo, name, config.inference, key, {"explain": "true", "method": method})

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
        server = process.find(target.root)
        assert server is not None
        return ServerFigures(
            ready=target.ready,
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


def memory(server: psutil.Process) -> float:
    """Resident memory of one process in MB."""
    return float(server.memory_info().rss) / 1e6
