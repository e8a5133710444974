"""Forward, back, and forward again, with a worker killed in the middle, while clients keep asking."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from chaos.load import Load, Outcome
from serving.store import Archive
from serving.temporary import Server
from serving.versions.bounds import Bounds
from serving.versions.management import Management
from serving.versions.operations import roll_back
from serving.versions.probe import Probe
from serving.versions.rollout import Trial, roll_out

# The load's own failures are counted here; a rollout goes on whatever a loaded machine does to latency.
BOUNDS = Bounds(watch=10, slower=1000, p95=1000)
STEPS = (0.1, 0.4, 0.5, 0.6)  # part of the requests that are answered when each step begins


@dataclass
class Report:
    """What became of the requests, and when a step was told."""

    outcomes: Sequence[Outcome]
    told: list[tuple[float, str]] = field(default_factory=list)  # time.monotonic, line
    killed: int = 0

    def first_ready(self) -> float:
        """When the new version was READY for the first time."""
        return next(at for at, line in self.told if line.startswith("READY"))

    def problems(self, new: str) -> list[str]:
        """Tell what must not be: requests that were never answered 200, or too early by the new version."""
        lost = [one for one in self.outcomes if one.version is None]
        early = [one for one in self.outcomes if one.version == new and one.answered < self.first_ready()]
        found = [f"{len(lost)} requests were never answered 200"] if lost else []
        return found + ([f"{len(early)} were answered by {new} before it was READY"] if early else [])

    def lines(self) -> list[str]:
        """Count first tries, tries, and versions."""
        total = len(self.outcomes)
        first = Counter(one.first for one in self.outcomes)
        versions = Counter(str(one.version) for one in self.outcomes)
        again = [one for one in self.outcomes if one.tries > 1]
        slowest = max(one.seconds for one in self.outcomes)
        return [
            f"{total} requests; {self.killed} worker killed",
            "first tries: " + ", ".join(f"{status}: {count}" for status, count in sorted(first.items())),
            f"sent again: {len(again)}, most often {max((one.tries - 1 for one in again), default=0)} times",
            "answered by: " + ", ".join(f"{name}: {count}" for name, count in sorted(versions.items())),
            f"longest wait: {slowest:.1f} s",
        ]


def roll_under_load(
    server: Server,
    new: Archive,
    photos: Mapping[str, bytes],
    *,
    count: int,
    rate: float,
    bounds: Bounds = BOUNDS,
    say: Callable[[str], object],
) -> Report:
    """Send `count` requests, `rate` a second; roll out `new`, back, kill a worker, and roll out again.

    More are sent where that takes longer. Raises ServingError where a step fails.
    """
    load = Load(server, list(photos.values()), rate)
    report = Report(load.outcomes)

    def tell(line: str) -> None:
        report.told.append((time.monotonic(), line))
        say(line)

    management = Management(server.root, server.config, server.name, tell)
    probe = Probe(server.root, server.config, server.name)
    trial = Trial(photos, bounds)
    steps: Sequence[Callable[[], None]] = (
        partial(roll_out, management, probe, new, trial),
        partial(roll_back, management, probe, photos),
        partial(kill, management, report),
        partial(roll_out, management, probe, new, trial),
    )
    done = threading.Event()
    with ThreadPoolExecutor(1) as sender:
        sending = sender.submit(load.run, count, done)
        try:
            for share, step in zip(STEPS, steps, strict=True):
                while len(load.outcomes) < share * count:
                    time.sleep(0.05)
                say(f"after {len(load.outcomes)} requests:")
                step()
        finally:
            done.set()
        sending.result()
    return report


def kill(management: Management, report: Report) -> None:
    """Kill a worker of the default version, as the system does when memory runs out."""
    [worker, *_] = management.versions()[management.default()].processes()
    worker.kill()
    report.killed += 1
    management.say(f"killed worker {worker.pid} of {management.default()}")
