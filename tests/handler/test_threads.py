"""The cores are divided among the workers that run, counted from the processes of the machine."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
import torch

from handler import threads
from handler.threads import Threads, siblings

Start = Callable[..., psutil.Process]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a process in a folder; it ends with the test."""
    with ExitStack() as stack:

        def new(folder: Path, *words: str) -> psutil.Process:
            command = [sys.executable, "-c", "input()", *words]
            process = stack.enter_context(subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE))
            stack.callback(process.kill)
            return psutil.Process(process.pid)

        yield new


def test_workers_of_the_same_version_are_counted(start: Start, tmp_path: Path) -> None:
    one, other = tmp_path / "1.0", tmp_path / "2.0"
    one.mkdir()
    other.mkdir()
    first = start(one, "/ts/model_service_worker.py", "--sock-type", "unix")
    assert siblings(first) == 1
    second = start(one, "/ts/model_service_worker.py")
    alone = start(other, "/ts/model_service_worker.py")
    neighbour = start(one, "something-else")
    assert [siblings(process) for process in (first, second, alone)] == [2, 2, 1]
    second.kill()
    second.wait()
    assert siblings(first) == 1
    assert siblings(neighbour) == 1
    assert siblings(psutil.Process()) == 0


def test_a_worker_takes_its_share_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[int] = []
    now, workers = [100.0], [2]
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(threads, "siblings", lambda _: workers[0])
    own = Threads(cores=8)
    own.share()
    assert chosen == []  # what was set at load holds
    for count, expected in ((2, 4), (3, 2), (16, 1), (1, 8)):
        now[0], workers[0] = now[0] + threads.PERIOD, count
        own.share()
        own.share()
        assert chosen.pop() == expected
        assert chosen == []
    now[0], workers[0] = now[0] + threads.PERIOD, 0
    own.share()
    assert chosen == []  # no worker of TorchServe
