"""Captions without photos: files of one caption a line, and batches of captions of about one length."""

import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.data.captions import normalise
from training.errors import DataError

Batches = list[npt.NDArray[np.intp]]

POOL = 50  # batches whose captions are sorted by length together


def read_lines(path: Path) -> list[str]:
    """Read a file of one caption a line, plain or `.gz`, normalised and without its empty lines.

    Raises DataError naming the file when it cannot be read or holds no caption.
    """
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8")
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no UTF-8 text: {error}") from None
    lines = [caption for line in text.splitlines() if (caption := normalise(line))]
    if not lines:
        raise DataError(f"{path} holds no caption")
    return lines


def length_batches(lengths: Sequence[int], size: int, rng: np.random.Generator) -> Batches:
    """Shuffle captions into batches of `size` indices each, of about one length within a batch.

    POOL batches at a time are sorted by length and cut up, which leaves little padding and keeps the
    order random. What does not fill a batch is left out.
    """
    order = rng.permutation(len(lengths))[: len(lengths) // size * size]
    keys = np.asarray(lengths)
    batches: Batches = []
    for start in range(0, len(order), POOL * size):
        pool = order[start : start + POOL * size]
        pool = pool[np.argsort(keys[pool], kind="stable")]
        batches.extend(np.split(pool, len(pool) // size))
    return [batches[index] for index in rng.permutation(len(batches))]
