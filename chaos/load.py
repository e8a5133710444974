"""Requests at a steady rate, whatever the server does: each is sent when it is due (an open loop)."""

import itertools
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import requests

from serving.temporary import Server

CLIENTS = 64  # requests that may wait for their answers at once
TIMEOUT = 60  # s
PAUSE = 0.5  # s before a request is sent again
TRIES = 40


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one request; times are of `time.monotonic`."""

    first: str  # status of the first try, or the name of the exception
    last: str  # of the last one
    tries: int
    version: str | None  # that answered, None where none did
    answered: float  # when the last answer came
    seconds: float  # from when it was due until then


@dataclass
class Load:
    """Sends photos to a server, `rate` a second, each again after `PAUSE` s until it is answered 200."""

    server: Server
    photos: Sequence[bytes]
    rate: float
    outcomes: list[Outcome] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, least: int, enough: threading.Event) -> None:
        """Send so many requests, and more until it is `enough`; return when all have their outcome."""
        began = time.monotonic()
        with ThreadPoolExecutor(CLIENTS) as clients:
            for number in itertools.count():
                if number >= least and enough.is_set():
                    break
                due = began + number / self.rate
                time.sleep(max(0.0, due - time.monotonic()))
                clients.submit(self.send, self.photos[number % len(self.photos)], due)

    def send(self, photo: bytes, due: float) -> None:
        """Send one request until it is answered, and note what became of it."""
        statuses: list[str] = []
        version = None
        while version is None and len(statuses) < TRIES:
            if statuses:
                time.sleep(PAUSE)
            try:
                with self.lock:  # it may be renewed
                    headers = self.server.headers()
                reply = requests.post(self.server.url, photo, headers=headers, timeout=TIMEOUT)
                statuses.append(str(reply.status_code))
                if reply.ok:
                    version = str(reply.json()["model"]["version"])
            except requests.RequestException as error:
                statuses.append(type(error).__name__)
        now = time.monotonic()
        outcome = Outcome(statuses[0], statuses[-1], len(statuses), version, now, now - due)
        with self.lock:
            self.outcomes.append(outcome)
