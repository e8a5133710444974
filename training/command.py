"""How every command of training begins and ends: what it logs is seen, and what is wrong is one line."""

import functools
import logging
from collections.abc import Callable
from typing import ParamSpec

import typer
from safetensors import SafetensorError

from archive.errors import ArchiveError
from model.errors import CaptionerError
from training.errors import INTERRUPTED, TrainingError
from training.output import reason

logger = logging.getLogger("training")

app = typer.Typer(
    help="Train captioners, score captions, and prepare what both need.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,  # a defect keeps its plain traceback
)

Arguments = ParamSpec("Arguments")


def command(
    log_format: str = "%(asctime)s %(message)s",
) -> Callable[[Callable[Arguments, int | None]], Callable[Arguments, int]]:
    """Make a function a command of `app`, with an exit status.

    What is wrong with data, recipe or disk is logged in one line and gives 1, Ctrl-C gives 130. Typer
    would end for Ctrl-C without a word.
    """

    def register(function: Callable[Arguments, int | None]) -> Callable[Arguments, int]:
        @functools.wraps(function)
        def guarded(*arguments: Arguments.args, **named: Arguments.kwargs) -> int:
            logging.basicConfig(level=logging.INFO, format=log_format)
            try:
                return function(*arguments, **named) or 0
            except (TrainingError, ArchiveError, CaptionerError, OSError, SafetensorError) as error:
                logger.error("%s", reason(error))
                return 1
            except KeyboardInterrupt:
                logger.error("interrupted: the same command goes on from the last snapshot, if there is one")
                return INTERRUPTED

        app.command()(guarded)
        return guarded

    return register
