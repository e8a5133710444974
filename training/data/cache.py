"""Arrays that take long to compute, kept in a folder: computed once, whole or not there, memory-mapped."""

import fcntl
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from training.errors import DataError


def cached(path: Path, write: Callable[[Path], None]) -> npt.NDArray[Any]:
    """Map the array in `path`, read-only, which `write` saves under another name where it is not there.

    Of several processes that want the same array one writes it and the others wait. Nothing is left behind
    where `write` fails.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            aside = path.with_suffix(".aside")
            aside.unlink(missing_ok=True)  # of a process that was killed here: its space is free for this one
            try:
                write(aside)
                aside.replace(path)
            finally:
                aside.unlink(missing_ok=True)
    mapped: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return mapped


def check_space(cache: Path, size: int, what: str) -> None:
    """Raise DataError where the disk is too full: a write to a memory map that fails kills the process."""
    if size > (free := shutil.disk_usage(cache).free):
        raise DataError(f"{what} need {size / 1e6:.0f} MB in {cache}, where {free / 1e6:.0f} are left")
