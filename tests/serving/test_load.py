"""`make load`: what it sends, when it stops, and one short run on a real server."""

import os
import subprocess
import sys
from collections.abc import Sequence

import pytest
import requests

from bench.load import __main__ as load
from bench.load.__main__ import Step, measure
from bench.load.examples import documented, example
from serving.temporary import Server
from tests.serving.conftest import ROOT
from tests.serving.test_readme import CURLS


def test_an_example_is_what_curl_sends(server: Server) -> None:
    examples = documented("tiny")
    assert len(examples) == len(CURLS)
    with requests.Session() as session:
        replies = [one.send(session, server.config.inference.url, server.key()) for one in examples]
    assert [reply.status_code for reply in replies] == [200] * len(examples)
    assert sum("explanation" in reply.json() for reply in replies) == 1
    assert sum("predictions" in reply.json() for reply in replies) == 1
    assert [len(reply.json().get("captions", ())) for reply in replies].count(3) == 1  # num_captions=3


def test_what_is_not_known_of_curl_is_refused() -> None:
    with pytest.raises(ValueError, match="--data-raw is not known"):
        example('curl -H "A: b" --data-raw x http://127.0.0.1:8080/predictions/captioner', "tiny")


@pytest.mark.parametrize(
    ("rates", "seen"),
    [((10, 19, 20, 40), [10, 19, 20]), ((10, 20, 40, 80), [10, 20, 40, 80]), ((10, 9), [10, 9])],
)
def test_it_stops_where_more_clients_get_no_more(
    rates: Sequence[float], seen: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(server: str, key: str, name: str, clients: int, seconds: int) -> Step:
        return Step(clients, rates[clients.bit_length() - 1], 1, 2, 3, 0)

    monkeypatch.setattr(load, "run", run)
    steps = measure("", "", "tiny", 1, 8)
    assert [step.rate for step in steps] == seen
    assert [step.clients for step in steps] == [1, 2, 4, 8][: len(seen)]


def test_a_short_run(server: Server) -> None:
    command = [sys.executable, "-m", "bench.load", "--name", "tiny", "--seconds", "2", "--most", "1"]
    done = subprocess.run(
        command,
        cwd=server.root,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    told, _, row, verdict = done.stdout.splitlines()
    assert told == f"{len(CURLS)} documented examples in turn, 2 s a line"
    clients, rate, p50, p95, p99, errors = map(float, row.split())
    assert (clients, errors) == (1, 0)
    assert rate > 0
    assert 0 < p50 <= p95 <= p99
    assert verdict.startswith("not full with 1 clients: ")
