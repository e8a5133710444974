"""Whether to send a request again, and when."""

import logging
import random
import time
from dataclasses import dataclass, field

from captioner_client.errors import Busy, KeyRefused, Unavailable

logger = logging.getLogger("captioner_client")

KEY_READINGS = 3
"""How often a key is read again. The server takes a new one a moment before its key file has it."""


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a request is sent again, and how long after the last failure.

    Pauses grow exponentially, each by chance up to half shorter, so that clients which failed together do
    not come back together (Brooker, "Exponential Backoff and Jitter", 2015: equal jitter). Raises
    ValueError for a number that is out of its range.
    """

    most: int = 8
    """How often; 0 is never."""
    first: float = 0.25
    """s, the first pause at its longest; every other is twice the one before."""
    longest: float = 8.0
    """s that no pause exceeds."""
    within: float = 180.0
    """s after the beginning, beyond which a request is not sent again."""

    def __post_init__(self) -> None:
        if self.most < 0:
            raise ValueError(f"most: {self.most} is less than 0")
        for name in ("first", "longest", "within"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}: {getattr(self, name)} is not 0 s or more")

    def pause(self, failures: int) -> float:
        """Return the s to wait after so many failures (1 or more)."""
        longest = min(self.longest, self.first * 2 ** (failures - 1))
        return random.uniform(longest / 2, longest)


@dataclass(slots=True)
class Attempts:
    """The failures of one request so far."""

    retries: Retries
    began: float = field(default_factory=time.monotonic)
    failures: int = 0
    refusals: int = 0

    def pause_after(self, error: Unavailable | Busy | KeyRefused) -> float:
        """Return the s to wait before the next attempt; raises the error where there is none."""
        if isinstance(error, KeyRefused):
            self.refusals += 1
            if self.refusals > KEY_READINGS:
                raise error
            pause = self.retries.pause(self.refusals - 1) if self.refusals > 1 else 0.0
        else:
            self.failures += 1
            if self.failures > self.retries.most:
                raise error
            wanted = error.retry_after if isinstance(error, Unavailable) else 0.0
            pause = max(self.retries.pause(self.failures), wanted)
        if time.monotonic() - self.began + pause > self.retries.within:
            raise error
        logger.info("%s; sent again in %.2f s", type(error).__name__, pause)
        return pause
