"""Workers of a version: wait until they are ready, let them finish, and end them without loss."""

import time
from collections.abc import Callable

from serving import process
from serving.errors import ServingError
from serving.startup import LIMIT, LOAD_FAILED, failure, log
from serving.versions.management import Management

PERIOD = 0.2  # s
DRAIN = 15.0  # s that requests get to finish
PAUSE = 0.1  # s without work before a worker is taken away


def bring_up(management: Management, version: str, workers: int, start: Callable[[], None]) -> None:
    """Call `start`, which makes a version's workers start, and return when so many are READY.

    Raises ServingError with the log's reason where they cannot be loaded, or `LIMIT` s do not suffice.
    """
    root = management.root
    read = len(log(root, "model.log"))
    start()
    if management.dry:
        return
    began = time.monotonic()
    while True:
        found = management.versions().get(version)
        if found is None:
            raise ServingError(f"version {version} is not registered any more")
        if found.ready >= workers and found.ready == len(found.pids):
            return
        text = log(root, "model.log")
        if LOAD_FAILED in text[read if len(text) >= read else 0 :]:
            raise ServingError(failure(root, f"version {version} cannot be loaded"))
        if time.monotonic() - began > LIMIT:
            raise ServingError(failure(root, f"version {version} was not loaded within {LIMIT} s"))
        time.sleep(PERIOD)


def resize(management: Management, version: str, workers: int) -> None:
    """Give a version so many workers; raises ServingError, and then as many are asked for as before."""
    if management.dry:
        management.scale(version, workers)
        return
    found = management.versions()[version]
    if workers < found.wanted:  # TorchServe fails what is in the hands of a worker that it takes away
        process.drain(found.processes, DRAIN, PAUSE)
    try:
        bring_up(management, version, workers, lambda: management.scale(version, workers))
    except BaseException:
        management.scale(version, found.wanted)
        raise


def withdraw(management: Management, version: str) -> None:
    """Unregister a version that is not the default, when it has answered what it was asked; none is no error.

    Raises ServingError.
    """
    if (found := management.versions().get(version)) is None:
        return
    if not management.dry:
        process.drain(found.processes, DRAIN)
    management.unregister(version)
