"""A version that has just got the traffic, watched: probes of our own, and TorchServe's count of failures."""

import re
import time
from collections.abc import Mapping
from itertools import cycle
from statistics import quantiles

import requests

from serving.config import Endpoint
from serving.errors import ServingError
from serving.versions.bounds import Bounds
from serving.versions.management import Say
from serving.versions.probe import Probe

PERIOD = 0.5  # s between probes
WINDOW = 20  # probes of which the percentile is taken
FEWEST = 10  # probes before it is judged
COUNTER = re.compile(r"^Requests([245])XX\w*\{[^}]*\} ([\d.eE+]+)$", re.MULTILINE)


def watch(
    probe: Probe, photos: Mapping[str, bytes], version: str, bounds: Bounds, *, usual: float, say: Say
) -> None:
    """Send probes the way clients do, for `bounds.watch` s; raises ServingError as soon as a bound is passed.

    `usual` is the 95th percentile of latency, in s, of the version before. A reply by another version counts
    as a failure.
    """
    endpoint = probe.config.metrics
    seen_before, failed_before = answered(endpoint)
    sent = failed = 0
    reason = ""
    latest: list[float] = []
    end = time.monotonic() + bounds.watch
    for photo in cycle(photos.values()):
        began = time.monotonic()
        if began >= end:
            break
        sent += 1
        try:
            answer = probe.ask(photo)
            if answer.version != version:
                raise ServingError(f"{answer.version} answered")
            latest = [*latest, answer.seconds][-WINDOW:]
        except ServingError as error:
            failed, reason = failed + 1, f": {error}"
        seen, lost = answered(endpoint)
        # Probes are counted there, too, but for those that were not answered at all.
        requests_seen = max(sent, seen - seen_before)
        requests_lost = max(failed, lost - failed_before)
        if requests_lost > bounds.errors * requests_seen:
            raise ServingError(
                f"{requests_lost} of {requests_seen} requests failed{reason}: beyond errors={bounds.errors:g}"
            )
        if len(latest) >= FEWEST and (p95 := quantiles(latest, n=20)[-1]) > bounds.p95 * usual:
            raise ServingError(
                f"p95 is {1000 * p95:.0f} ms, {p95 / usual:.1f} times that of the version before: "
                f"beyond p95={bounds.p95:g}"
            )
        time.sleep(max(0.0, began + PERIOD - time.monotonic()))
    if sent:
        say(f"watched for {bounds.watch:g} s: {requests_lost} of {requests_seen} requests failed")


def answered(metrics: Endpoint) -> tuple[int, int]:
    """Return how many requests TorchServe has answered so far, and how many of them with a 5xx status.

    Those of all models and of the management port are among them. (0, 0) where it does not tell.
    """
    try:
        text = requests.get(f"{metrics.url}/metrics", timeout=2).text
    except requests.RequestException:
        return 0, 0
    counts = [(status, int(float(count))) for status, count in COUNTER.findall(text)]
    return sum(count for _, count in counts), sum(count for status, count in counts if status == "5")
