"""How far long work has got: a bar on a terminal; elsewhere a log line at once and then every half minute."""

import logging
import os
import sys
import time
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm

logger = logging.getLogger("training.progress")

SECONDS = 30.0  # between two lines of a log


def size() -> tuple[int, int] | tuple[None, None]:
    """Columns and rows for a bar where the terminal has none, as under `script`: tqdm would show nothing.

    None and None where it has some: tqdm asks itself.
    """
    try:
        told = min(os.get_terminal_size(sys.stderr.fileno()))
    except OSError:
        told = 0
    return (None, None) if told else (80, 24)


class Progress:
    """Counts `unit`s of work up to `total`, from those that were `done` before."""

    def __init__(self, what: str, total: int, unit: str, *, done: int = 0, shown: bool = True) -> None:
        """Begin; of several processes one alone is `shown`."""
        self.what, self.total, self.unit, self.done, self.shown = what, total, unit, done, shown
        self.first = done
        self.began = time.monotonic()
        self.told = -SECONDS
        self.bar: tqdm[Any] | None = None
        if shown and sys.stderr.isatty():
            columns, rows = size()
            self.bar = tqdm(total=total, initial=done, desc=what, unit=unit, ncols=columns, nrows=rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.close()

    def advance(self, number: int = 1, /, **values: float) -> None:
        """Count `number` units more; `values` are shown beside them."""
        self.done += number
        if self.bar is not None:
            self.bar.set_postfix({name: f"{value:.3f}" for name, value in values.items()}, refresh=False)
            self.bar.update(number)
        elif self.shown and (now := time.monotonic()) - self.told >= SECONDS:
            self.told = now
            logger.info("%s", self.line(now - self.began, values))

    def line(self, seconds: float, values: dict[str, float]) -> str:
        """Say it in words: `training: step 40 of 900, loss 3.214; 2.1 s a step, 30 min left`."""
        each = seconds / max(1, self.done - self.first)
        left = each * (self.total - self.done)
        told = "".join(f", {name} {value:.3f}" for name, value in values.items())
        speed = (
            f"{each:.1f} s a {self.unit}" if each >= 1 else f"{1 / max(each, 1e-9):.1f} {self.unit}s a second"
        )
        rest = f"{left / 60:.0f} min" if left >= 120 else f"{left:.0f} s"
        return f"{self.what}: {self.unit} {self.done} of {self.total}{told}; {speed}, {rest} left"
