"""How much worse a new version may be than the one before it."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

from serving.errors import ServingError


@dataclass(frozen=True, slots=True)
class Bounds:
    """The operator's choices, NAME=VALUE on the command line; all is measured against the version before."""

    changed: float = 1.0
    """Share of the golden photos whose caption may differ, 0 to 1."""
    slower: float = 2.0
    """How many times its median latency, one photo at a time, may be."""
    cider: float = 0.02
    """How much lower its CIDEr on the scored folder may be."""
    errors: float = 0.01
    """Share of requests that may fail while it is watched, 0 to 1; with fewer than 1 / errors, none may."""
    p95: float = 3.0
    """How many times its 95th percentile of latency may be while it is watched."""
    watch: float = 30.0
    """Seconds for which it is watched."""

    def __post_init__(self) -> None:
        """Raise ServingError for a value out of its range."""
        for field in fields(self):
            value = getattr(self, field.name)
            most = 1.0 if field.name in ("changed", "errors") else float("inf")
            if not 0 <= value <= most or value == float("inf"):
                raise ServingError(
                    f"{field.name}: {value:g} is not a number from 0{' to 1' if most == 1 else ''}"
                )

    @classmethod
    def parse(cls, texts: Sequence[str]) -> Self:
        """Read NAME=VALUE; raises ServingError naming what is wrong."""
        known = [field.name for field in fields(cls)]
        values = {}
        for text in texts:
            name, _, value = text.partition("=")
            if name not in known:
                raise ServingError(f"{text!r} is no bound: known are {', '.join(known)}, as NAME=VALUE")
            try:
                values[name] = float(value)
            except ValueError:
                raise ServingError(f"{name}: {value!r} is not a number") from None
        return cls(**values)
