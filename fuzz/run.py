"""Many clients send cases at once, and good photos in between, which must get the captions they got alone."""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPException
from threading import Lock

import grpc

from fuzz.case import Case
from fuzz.judge import caption_in, fault, is_front_ends
from fuzz.kinds import generate
from fuzz.target import Target

CLIENTS = 16
EVERY = 5
"""A good photo is sent after so many cases."""
MOST = 20
"""Faults after which the run ends."""
SHOWN = 200
"""Bytes of a wrong reply that are shown."""
GOOD = "good photo"


@dataclass(frozen=True, slots=True)
class Fault:
    """A case, by its number, that got a wrong reply, or the good photo sent behind it."""

    seed: str
    number: int
    kind: str
    case: Case
    what: str


@dataclass
class Outcome:
    """Statuses by kind, and faults."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: list[Fault] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Good:
    """A good photo and the caption that it gets alone."""

    photo: bytes
    caption: str


def run(
    target: Target, seed: str, numbers: Sequence[int], good: Sequence[Good], done: Callable[[], object]
) -> Outcome:
    """Send the cases of a seed that have these numbers; `done` is called after each."""
    outcome, lock = Outcome(), Lock()

    def record(number: int, kind: str, case: Case, status: str, what: str | None) -> None:
        with lock:
            outcome.counts[kind, status] += 1
            if what is not None:
                outcome.faults.append(Fault(seed, number, kind, case, what))

    def send(number: int) -> None:
        if len(outcome.faults) >= MOST:
            return
        kind, case = generate(seed, number)
        record(number, kind, case, *judged(target, case))
        if number % EVERY == 0:
            one = good[number // EVERY % len(good)]
            record(number, GOOD, Case(one.photo), *judged(target, Case(one.photo), one.caption))
        with lock:
            done()

    with ThreadPoolExecutor(CLIENTS) as clients:
        for _ in clients.map(send, numbers):
            pass
    return outcome


def judged(target: Target, case: Case, caption: str | None = None) -> tuple[str, str | None]:
    """Send a case that may have to get `caption`; returns its status and what is wrong with the reply."""
    try:
        reply = target.ask(case)
    except (OSError, HTTPException, grpc.RpcError) as error:
        if isinstance(error, ConnectionError) and any(own.breaks_off for own in case.own):
            return "reset*", None
        code = f" {error.code().name}" if isinstance(error, grpc.Call) else ""
        return "none", f"no reply: {type(error).__name__}{code}"
    what = fault(case, reply)
    if what is None and caption is not None and caption_in(reply) != caption:
        what = "another caption than alone"
    if what is not None:
        what = f"{what}: {reply.body[:SHOWN]!r}"
    return f"{reply.status}*" if is_front_ends(case, reply) else str(reply.status), what
