"""`python -m bench.load`: more and more clients, until more of them get nothing more done.

The server is the one that runs in the working directory; `make serve` starts it. Its clients run in a process
of their own, which shares the machine's cores with the server unless SERVER names another machine.
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import requests

from bench.load.examples import ROOT, documented
from serving.access import access_key
from serving.config import ServerConfig
from serving.errors import ServingError

CLIENTS = Path(__file__).with_name("clients.py")
RISE = 1.1
"""Twice the clients have to get so many times the requests done; else the server is full."""


@dataclass(frozen=True, slots=True)
class Step:
    """What a number of clients got, all busy all the time. Times are of requests that failed, too."""

    clients: int
    rate: float  # requests/s
    p50: float  # ms
    p95: float
    p99: float
    errors: int


def main() -> int:
    """Double the clients until the server is full; print a line a step. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__)
    parser.add_argument("--config", type=Path, default=Path("config.properties"))
    parser.add_argument("--name", default="captioner", help="the model")
    parser.add_argument("--seconds", type=int, default=20, help="that each number of clients is kept up")
    parser.add_argument("--most", type=int, default=64, help="clients")
    arguments = parser.parse_args()
    try:
        config = ServerConfig.from_file(arguments.config)
        server, key = config.inference.url, access_key(Path.cwd(), "inference", config.management)
        count = warm_up(server, key, arguments.name)
        print(f"{count} documented examples in turn, {arguments.seconds} s a line")
        print("clients  requests/s   p50 ms   p95 ms   p99 ms   errors")
        steps = measure(server, key, arguments.name, arguments.seconds, arguments.most)
    except (ServingError, requests.ConnectionError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    best = steps[-2] if full(steps) else steps[-1]
    print(
        f"{'full' if full(steps) else 'not full'} with {best.clients} clients: "
        f"{best.rate:.1f} requests/s, p95 {best.p95:.0f} ms"
    )
    return 1 if any(step.errors for step in steps) else 0


def measure(server: str, key: str, name: str, seconds: int, most: int) -> list[Step]:
    """Double the clients, from one to `most`, until the server is full, and print what each number gets."""
    steps: list[Step] = []
    while not full(steps) and (clients := 2 ** len(steps)) <= most:
        steps.append(step := run(server, key, name, clients, seconds))
        figures = f"{step.p50:8.0f} {step.p95:8.0f} {step.p99:8.0f} {step.errors:8}"
        print(f"{step.clients:7} {step.rate:11.1f} {figures}", flush=True)
    return steps


def full(steps: Sequence[Step]) -> bool:
    """Tell whether the last step's clients got hardly more done than half as many before."""
    return len(steps) > 1 and steps[-1].rate < RISE * steps[-2].rate


def warm_up(server: str, key: str, name: str) -> int:
    """Send each example once; returns their number.

    Raises ServingError for one that gets an error, but for 503, which is the load's own doing.
    """
    examples = documented(name)
    with requests.Session() as session:
        for example in examples:
            answer = example.send(session, server, key)
            if not answer.ok and answer.status_code != requests.codes.service_unavailable:
                raise ServingError(
                    f"{example.path} answers {answer.status_code}: {answer.text.strip()[:200]}"
                )
    return len(examples)


def run(server: str, key: str, name: str, clients: int, seconds: int) -> Step:
    """Keep a number of clients busy for some seconds, in a process of locust."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "locust",
            "--locustfile",
            str(CLIENTS),
            "--host",
            server,
            "--headless",
        ]
        command += ["--users", str(clients), "--spawn-rate", str(clients), "--run-time", f"{seconds}s"]
        command += ["--csv", f"{folder}/load", "--exit-code-on-error", "0", "--stop-timeout", "60"]
        variables = {"LOAD_NAME": name, "LOAD_KEY": key, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            command, env={**os.environ, **variables}, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise ServingError(f"locust ended with {done.returncode}: {done.stderr.strip()[-500:]}")
        with Path(folder, "load_stats.csv").open(newline="") as table:
            (total,) = (row for row in csv.DictReader(table) if row["Name"] == "Aggregated")
    if total["Request Count"] == "0":
        raise ServingError(f"no request of {clients} clients was answered within {seconds} s")
    return Step(
        clients,
        rate=float(total["Requests/s"]),
        p50=float(total["50%"]),
        p95=float(total["95%"]),
        p99=float(total["99%"]),
        errors=int(total["Failure Count"]),
    )


if __name__ == "__main__":
    sys.exit(main())
