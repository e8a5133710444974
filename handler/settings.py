"""The captioner's own section of `model-config.yaml`, checked when a worker starts.

TorchServe reads the keys it knows (workers, batching, timeouts) and hands the whole
file to the worker. `maxWorkers` is read here a second time, because the processor's
cores are divided among that many workers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from model.image import MAX_PIXELS

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

KEYS = frozenset({"dtype", "max_pixels", "options"})


class SettingsError(Exception):
    """A key of `model-config.yaml` is missing, unknown or out of its range."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How one worker runs the model."""

    workers: int  # worker processes that share the cores
    dtype: torch.dtype | None = None  # None: bfloat16 where the processor runs it natively, else float32
    max_pixels: int = MAX_PIXELS  # width × height above which a photo is refused
    options: Mapping[str, Any] = field(default_factory=dict)  # replace fields of the checkpoint's BeamOptions

    @classmethod
    def from_yaml(cls, raw: Mapping[str, Any]) -> "Settings":
        """Read the parsed content of `model-config.yaml`.

        Raises SettingsError naming the key. The values in `options` are judged by
        `model.options.BeamOptions.replace`, which knows their ranges.
        """
        own = _mapping("captioner", raw.get("captioner"))
        unknown = sorted(own.keys() - KEYS)
        if unknown:
            raise SettingsError(f"captioner.{unknown[0]} is unknown; known are {', '.join(sorted(KEYS))}")
        dtype = own.get("dtype", "auto")
        if dtype != "auto" and dtype not in DTYPES:
            raise SettingsError(f"captioner.dtype is {dtype!r}: one of auto, {', '.join(DTYPES)} is needed")
        return cls(
            workers=_positive("maxWorkers", raw.get("maxWorkers")),
            dtype=DTYPES.get(dtype),
            max_pixels=_positive("captioner.max_pixels", own.get("max_pixels", MAX_PIXELS)),
            options=_mapping("captioner.options", own.get("options")),
        )

    def threads(self, cores: int) -> int:
        """Threads for this worker: an equal share of `cores`, and at least one."""
        return max(1, cores // self.workers)


def _positive(key: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise SettingsError(f"{key} is {value!r}: a positive integer is needed")
    return value


def _mapping(key: str, value: object) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise SettingsError(f"{key} is {value!r}: a mapping is needed")
    return value
