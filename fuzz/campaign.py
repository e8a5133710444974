"""The whole run: captions alone, a warm-up, the cases, and whether the server is what it was before."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fuzz.case import Case
from fuzz.judge import caption_in
from fuzz.kinds import heaviest
from fuzz.run import Fault, Good, run
from fuzz.target import Target

GROWTH = 0.05
"""How much more memory the worker may hold after the cases than before."""


@dataclass(frozen=True, slots=True)
class Report:
    """What the cases got, and the worker's resident memory in MB."""

    counts: Counter[tuple[str, str]]
    faults: list[Fault]
    problems: list[str]
    """What is wrong with the server as a whole."""
    memory_before: float
    memory_after: float


def campaign(
    target: Target,
    seed: str,
    numbers: Sequence[int],
    photos: Sequence[bytes],
    *,
    warm_up: int,
    done: Callable[[], object],
) -> Report:
    """Send the cases of a seed that have these numbers, after `warm_up` cases of another seed.

    What a worker allocates once, and keeps, it has after the warm-up. `done` is called after each
    case. Raises OSError where the server answers nothing at the beginning.
    """
    good = [Good(*pair) for pair in zip(photos, captions(target, photos), strict=True)]
    for case in heaviest(photos[0]) if warm_up else ():
        target.ask(case)
    first = run(target, f"{seed} warm-up", range(warm_up), good, done)
    captions(target, photos)  # a worker keeps its last batch: measured is what it keeps of all
    worker = target.worker()
    before = worker.memory_info().rss / 1e6
    second = run(target, seed, numbers, good, done)
    problems = []
    if captions(target, photos) != [one.caption for one in good]:
        problems.append("a good photo gets another caption afterwards")
    last = target.worker()
    after = last.memory_info().rss / 1e6
    if last.pid != worker.pid:
        problems.append("the worker died")
    elif after > before * (1 + GROWTH):
        problems.append(f"the worker's memory grew by {after / before - 1:.1%}")
    return Report(second.counts, first.faults + second.faults, problems, before, after)


def captions(target: Target, photos: Sequence[bytes]) -> list[str]:
    """Return the captions of photos that are sent one after the other."""
    return [caption_alone(target, photo) for photo in photos]


def caption_alone(target: Target, photo: bytes) -> str:
    """Return the caption of a photo that is sent by itself; raises ValueError where it gets none."""
    caption = caption_in(target.ask(Case(photo)))
    if caption is None:
        raise ValueError("a good photo gets no caption")
    return caption
