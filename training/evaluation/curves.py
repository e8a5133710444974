"""Score curves of a training run, from the `history.jsonl` in its folder: a JSON object a line."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from training.errors import DataError
from training.journal import FILE

PLACES = ("epoch", "step")
VALUES = ("loss", "dev_loss", "cider", "bleu4")

Curves = Sequence[Mapping[str, float]]
"""Lines of finite numbers under some of the names in PLACES and VALUES, in the order of the file."""


def read_curves(path: Path) -> Curves:
    """Read a run's history; a last line that is still being written is left out.

    Other names than those above are passed over, as is a number that is none (a loss that
    overflowed). Raises DataError naming the line that is no object of numbers.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    return [_numbers(path, number, line) for number, line in enumerate(lines, start=1) if line.strip()]


def history_beside(checkpoint: Path) -> Path | None:
    """Find the history of the run that wrote a checkpoint folder; None where there is none."""
    path = checkpoint.resolve().parent / FILE
    return path if path.is_file() else None


def _numbers(path: Path, number: int, line: str) -> dict[str, float]:
    try:
        raw = json.loads(line)
    except ValueError:
        raw = None
    if not isinstance(raw, Mapping):
        raise DataError(f"{path}, line {number}: a JSON object is needed")
    numbers = {}
    for name in (*PLACES, *VALUES):
        value = raw.get(name)
        if value is None:
            continue
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise DataError(f"{path}, line {number}: {name} is {value!r}, not a number")
        if math.isfinite(value):
            numbers[name] = float(value)
    return numbers
