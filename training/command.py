"""How a command of training ends: with a status, and with one line where something is wrong."""

import functools
import logging
from collections.abc import Callable
from typing import ParamSpec

from safetensors import SafetensorError

from model.errors import CaptionerError
from training.errors import TrainingError

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
            logger.error("%s", error)
            return 1
        except KeyboardInterrupt:
            logger.error("interrupted: the same command goes on from the last snapshot, if there is one")
            return INTERRUPTED

    return command
