"""The captioner's own section of `model-config.yaml`, checked when a worker starts.

TorchServe reads the keys it knows (workers, batching, timeouts) and hands the whole
file to the worker. `maxWorkers` is read here a second time, because the processor's
cores are divided among that many workers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from model.errors import ConfigError
from model.explain.bounds import ExplainBounds
from model.image import MAX_PIXELS
from model.search.option import Kind
from model.search.options import OPTIONS

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

KEYS = frozenset(
    {
        "dtype",
        "max_photos",
        "max_pixels",
        "max_reply_bytes",
        "options",
        "limits",
        "explain",
        "log_requests",
    }
)
LIMITED = tuple(name for name, option in OPTIONS.items() if option.kind is Kind.INTEGER and name != "seed")
"""Options that an operator can bound."""
EXPLAIN_KEYS = ("max_words", "max_passes", "max_seconds")
EXPLAIN_SECONDS = 5
MAX_PHOTOS = 8
MAX_REPLY_BYTES = 5_000_000


class SettingsError(Exception):
    """A key of `model-config.yaml` is missing, unknown or out of its range."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How one worker runs the model."""

    workers: int  # worker processes that share the cores
    dtype: torch.dtype | None = None  # None: bfloat16 where the processor runs it natively, else float32
    max_photos: int = MAX_PHOTOS  # of one request
    max_pixels: int = MAX_PIXELS  # width × height, of all photos of a request together
    max_reply_bytes: int = MAX_REPLY_BYTES  # less than max_response_size in config.properties
    options: Mapping[str, Any] = field(default_factory=dict)
    """Replace fields of the checkpoint's GenerationOptions."""
    limits: Mapping[str, int] = field(default_factory=dict)
    """The greatest values that a request may give to options."""
    explain: ExplainBounds = field(default_factory=ExplainBounds)
    """What explanations may cost. The photos of a request share `max_passes`."""
    explain_seconds: int = EXPLAIN_SECONDS
    """After so much time in the explanations of a batch, no other one begins; nor, after so much
    time in one by integrated gradients, another word of it; one by occlusion ends with an error.
    A batch takes less than twice this and one word's integrated gradients."""
    log_requests: bool = False  # one JSON line each

    @classmethod
    def from_yaml(cls, raw: Mapping[str, Any]) -> "Settings":
        """Read the parsed content of `model-config.yaml`.

        Raises SettingsError naming the key. The values in `options` are judged by
        `model.search.options.GenerationOptions.replace`, which knows their ranges.
        """
        own = _mapping("captioner", raw.get("captioner"))
        unknown = sorted(own.keys() - KEYS)
        if unknown:
            raise SettingsError(f"captioner.{unknown[0]} is unknown; known are {', '.join(sorted(KEYS))}")
        dtype = own.get("dtype", "auto")
        if dtype != "auto" and dtype not in DTYPES:
            raise SettingsError(f"captioner.dtype is {dtype!r}: one of auto, {', '.join(DTYPES)} is needed")
        explain = _integers("captioner.explain", own.get("explain"), EXPLAIN_KEYS)
        return cls(
            workers=_positive("maxWorkers", raw.get("maxWorkers")),
            dtype=DTYPES.get(dtype),
            max_photos=_positive("captioner.max_photos", own.get("max_photos", MAX_PHOTOS)),
            max_pixels=_positive("captioner.max_pixels", own.get("max_pixels", MAX_PIXELS)),
            max_reply_bytes=_positive(
                "captioner.max_reply_bytes", own.get("max_reply_bytes", MAX_REPLY_BYTES)
            ),
            options=_mapping("captioner.options", own.get("options")),
            limits=_integers("captioner.limits", own.get("limits"), LIMITED),
            explain=_bounds(explain),
            explain_seconds=explain.get("max_seconds", EXPLAIN_SECONDS),
            log_requests=_boolean("captioner.log_requests", own.get("log_requests", False)),
        )

    def described_limits(self) -> dict[str, int]:
        """Return what a request cannot pass, by the names in model-config.yaml."""
        return {
            "max_photos": self.max_photos,
            "max_pixels": self.max_pixels,
            **self.limits,
            "max_words": self.explain.max_words,
            "max_passes": self.explain.max_passes,
            "max_seconds": self.explain_seconds,
        }

    def threads(self, cores: int) -> int:
        """Threads for this worker: an equal share of `cores`, and at least one."""
        return max(1, cores // self.workers)


def _positive(key: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise SettingsError(f"{key} is {value!r}: a positive integer is needed")
    return value


def _boolean(key: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise SettingsError(f"{key} is {value!r}: true or false is needed")
    return value


def _mapping(key: str, value: object) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise SettingsError(f"{key} is {value!r}: a mapping is needed")
    return value


def _integers(key: str, value: object, known: Sequence[str]) -> Mapping[str, int]:
    values = _mapping(key, value)
    for name in values:
        if name not in known:
            raise SettingsError(f"{key}.{name} is unknown; known are {', '.join(known)}")
    return {name: _positive(f"{key}.{name}", bound) for name, bound in values.items()}


def _bounds(values: Mapping[str, int]) -> ExplainBounds:
    try:
        return ExplainBounds(**{name: value for name, value in values.items() if name != "max_seconds"})
    except ConfigError as error:
        raise SettingsError(f"captioner.explain.{error}") from None
