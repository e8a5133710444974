"""How far a run has got is seen on a terminal and in a log, from the first step on."""

import fcntl
import io
import logging
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from contextlib import suppress
from pathlib import Path

import pytest

from training.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr("training.progress.time.monotonic", lambda: now[0])
    return now


def test_a_log_gets_the_first_step_and_then_a_line_every_half_minute(
    clock: list[float], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    caplog.set_level(logging.INFO)
    with Progress("training", 120, "step", done=20) as progress:
        for _ in range(40):
            clock[0] += 2
            progress.advance(loss=3.5)
    assert caplog.messages == [
        "training: step 21 of 120, loss 3.500; 2.0 s a step, 3 min left",
        "training: step 36 of 120, loss 3.500; 2.0 s a step, 3 min left",
        "training: step 51 of 120, loss 3.500; 2.0 s a step, 2 min left",
    ]


def test_fast_work_is_told_by_the_second(
    clock: list[float], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    caplog.set_level(logging.INFO)
    with Progress("frozen layers", 100, "view") as progress:
        clock[0] += 1
        progress.advance(8)
    assert caplog.messages == ["frozen layers: view 8 of 100; 8.0 views a second, 12 s left"]


def test_a_terminal_gets_a_bar_and_the_log_nothing(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    caplog.set_level(logging.INFO)
    with Progress("training", 2, "step") as progress:
        progress.advance(loss=3.5)
        progress.advance(loss=3.25)
    assert "training: 100%" in terminal.getvalue()
    assert "loss=3.250" in terminal.getvalue()
    assert caplog.messages == []


@pytest.mark.parametrize(("rows", "across"), [(0, 0), (24, 100)])
def test_a_terminal_that_does_not_say_how_wide_it_is_shows_it_all(rows: int, across: int) -> None:
    """As under `script`, or in a container with a terminal of its own."""
    outer, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", rows, across, 0, 0))
    program = (
        "from training.progress import Progress\n"
        "with Progress('training', 3, 'step') as progress:\n"
        "    for _ in range(3):\n"
        "        progress.advance(loss=3.5)\n"
    )
    done = subprocess.Popen([sys.executable, "-c", program], stderr=inner, cwd=Path(__file__).parents[2])
    os.close(inner)
    shown = b""
    with suppress(OSError):  # what the end of a terminal is
        while part := os.read(outer, 4096):
            shown += part
    os.close(outer)
    assert done.wait() == 0
    last = shown.decode().strip().split("\r")[-1]
    assert re.search(r"training: 100%.* 3/3 \[00:\d\d<00:00, .*step/s, loss=3\.500\]", last), last


def test_other_processes_are_silent(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    caplog.set_level(logging.INFO)
    with Progress("training", 2, "step", shown=False) as progress:
        progress.advance()
    assert not caplog.messages
    assert not terminal.getvalue()
