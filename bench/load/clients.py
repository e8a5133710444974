"""Clients of a server for locust, which runs this file: each sends the documented examples in turn.

A client sends its next request when the last one is answered; it starts at an example of its own.
"""

from itertools import count, cycle, islice
from os import environ

from locust import HttpUser, task

from bench.load.examples import documented

EXAMPLES = documented(environ["LOAD_NAME"])
NUMBERS = count()


class Client(HttpUser):
    """One client."""

    def on_start(self) -> None:
        """Begin somewhere else than the client before."""
        self.examples = cycle(EXAMPLES)
        next(islice(self.examples, next(NUMBERS) % len(EXAMPLES), None), None)

    @task
    def send(self) -> None:
        """Send the next one; locust takes the time, and counts a status of 400 or more as a failure."""
        next(self.examples).send(self.client, self.host or "", environ["LOAD_KEY"])
