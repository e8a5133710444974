"""How a command of training ends: with a status, and with one line where something is wrong."""

import functools
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec

from safetensors import SafetensorError

from model.errors import CaptionerError
from training.errors import DataError, TrainingError

logger = logging.getLogger("training")

INTERRUPTED = 130  # what a shell says of a program that Ctrl-C ended

Arguments = ParamSpec("Arguments")


def ends_in_one_line(main: Callable[Arguments, int]) -> Callable[Arguments, int]:
    """Make a command log one line and return 1 for an error of data, recipe or disk, 130 for Ctrl-C."""

    @functools.wraps(main)
    def command(*arguments: Arguments.args, **named: Arguments.kwargs) -> int:
        try:
            return main(*arguments, **named)
        except (TrainingError, CaptionerError, OSError, SafetensorError) as error:
            logger.error("%s", reason(error))
            return 1
        except KeyboardInterrupt:
            logger.error("interrupted: the same command goes on from the last snapshot, if there is one")
            return INTERRUPTED

    return command


def reason(error: Exception) -> str:
    """Say what is wrong; of the system's errors, file and reason without the number."""
    named = isinstance(error, OSError) and error.filename is not None and error.strerror
    return f"{error.filename}: {error.strerror}" if named else str(error)  # type: ignore[attr-defined]


def check_writable(folder: Path) -> None:
    """Make a folder, and see whether files can be written into it: now, and not after hours.

    Raises DataError naming it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise DataError(f"{folder} cannot be written to: {error.strerror}") from None
