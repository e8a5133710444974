"""All photos of a data set as one array of bytes, decoded once and memory-mapped after that.

Decoding takes longer than a training step does; a cached array makes the model the limit.
"""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from model.errors import ImageError
from model.image import decode
from training.data.cache import cached, check_space
from training.data.problems import Problems
from training.errors import DataError
from training.progress import Progress

Photos = npt.NDArray[np.uint8]
"""(photos, size, size, 3): RGB, 0 to 255, rows from the top."""


def load_photos(
    folder: Path,
    names: Sequence[str],
    size: int,
    cache: Path,
    resample: Image.Resampling = Image.Resampling.BILINEAR,
) -> Photos:
    """Decode `names` of `folder`, squashed to size × size pixels, through the folder `cache`.

    The result is a read-only memory map, one photo per name and in that order. Names, sizes and
    modification times of the files are part of the cache's key. Of several processes that want
    the same photos one decodes and the others wait.
    Raises DataError naming the photos that are missing or unreadable, or the space that the cache lacks.
    """
    form = f"{size}" if resample == Image.Resampling.BILINEAR else f"{size} {resample.name}"

    def write(aside: Path) -> None:
        problems = Problems()
        shape = (len(names), size, size, 3)
        check_space(cache, math.prod(shape), "the decoded photos")
        photos = np.lib.format.open_memmap(aside, mode="w+", dtype=np.uint8, shape=shape)
        with Progress("decoding photos", len(names), "photo") as progress:
            for index, name in enumerate(names):
                photo = read_photo(folder / name, problems)
                if photo is not None:
                    photos[index] = np.asarray(photo.resize((size, size), resample))
                progress.advance()
        problems.check()
        photos.flush()

    return cached(cache / f"photos-{_fingerprint(folder, names, form)}.npy", write)


def read_photo(path: Path, problems: Problems) -> Image.Image | None:
    """Decode one file; where that fails the reason is added to `problems`."""
    try:
        return decode(path.read_bytes())
    except (ImageError, OSError) as error:
        problems.add("unreadable photos", f"{path}: {error}")
        return None


def _fingerprint(folder: Path, names: Sequence[str], form: str) -> str:
    digest = hashlib.sha256(f"{folder.resolve()} {form}".encode())
    for name in names:
        try:
            status = (folder / name).stat()
        except OSError as error:
            raise DataError(f"{folder / name} cannot be read: {error.strerror}") from None
        digest.update(f"{name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]
