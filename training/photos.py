"""All photos of a data set as one array of bytes, decoded once and memory-mapped after that.

Decoding takes longer than a training step does; a cached array makes the model the limit.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from tqdm import tqdm

from model.errors import ImageError
from model.image import decode
from training.errors import DataError

Photos = npt.NDArray[np.uint8]
"""(photos, size, size, 3): RGB, 0 to 255, rows from the top."""


def load_photos(folder: Path, names: Sequence[str], size: int, cache: Path) -> Photos:
    """Decode `names` of `folder`, squashed to size × size pixels (bilinear), through the folder `cache`.

    The result is a read-only memory map, one photo per name and in that order. Names, sizes and
    modification times of the files are part of the cache's key.
    Raises DataError naming the first photo that is missing or unreadable.
    """
    path = cache / f"photos-{_fingerprint(folder, names, size)}.npy"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(f".{os.getpid()}")
        shape = (len(names), size, size, 3)
        photos = np.lib.format.open_memmap(aside, mode="w+", dtype=np.uint8, shape=shape)
        for index, name in enumerate(tqdm(names, desc="decoding photos", unit="photo", disable=None)):
            photos[index] = _decode(folder / name, size)
        photos.flush()
        aside.replace(path)
    mapped: Photos = np.load(path, mmap_mode="r", allow_pickle=False)
    return mapped


def _decode(path: Path, size: int) -> Photos:
    try:
        photo = decode(path.read_bytes())
    except ImageError as error:
        raise DataError(f"{path}: {error}") from None
    return np.asarray(photo.resize((size, size), Image.Resampling.BILINEAR))


def _fingerprint(folder: Path, names: Sequence[str], size: int) -> str:
    digest = hashlib.sha256(f"{folder.resolve()} {size}".encode())
    for name in names:
        try:
            status = (folder / name).stat()
        except OSError as error:
            raise DataError(f"{folder / name} cannot be read: {error.strerror}") from None
        digest.update(f"{name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]
