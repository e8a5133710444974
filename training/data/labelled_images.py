"""A set of small labelled images (Tiny-ImageNet), as one array of bytes, and batches of their crops."""

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from training.data.cache import cached, check_space
from training.data.photos import Photos
from training.errors import DataError
from training.progress import Progress

LEAST_AREA = 0.35  # share of an image that a crop keeps, at least
STRETCH = 0.28  # largest |log| of the square root of a crop's width : height
LEAST_SIDE = 8  # pixels


@dataclass(frozen=True)
class LabelledImages:
    """N images of one size with a class each."""

    images: Photos  # (N, size, size, 3)
    labels: npt.NDArray[np.int64]  # (N,), from 0 to below `classes`
    classes: int

    def pixels(self, indices: npt.NDArray[np.intp], size: int) -> Tensor:
        """Enlarge whole images (bilinear) to (B, 3, size, size) float32, −1 to 1."""
        images = torch.from_numpy(self.images[indices]).permute(0, 3, 1, 2).float()
        return F.interpolate(images, (size, size), mode="bilinear") / 127.5 - 1

    def draw_crops(self, number: int, size: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Draw random crops, mirrored at random: (B, 3, size, size) uint8 and their classes (B,)."""
        indices = rng.integers(len(self.images), size=number)
        crops = torch.stack([_crop(self.images[index], size, rng) for index in indices])
        return crops, torch.from_numpy(self.labels[indices])


def read_labelled_images(folder: Path, split: str, cache: Path) -> LabelledImages:
    """Read `SPLIT*.parquet` (columns image: encoded bytes, label) and `classes.json` of a folder.

    Decoded images are kept in the folder `cache` and memory-mapped; of several processes one decodes them.
    Raises DataError naming the file and what does not fit.
    """
    try:
        classes = len(json.loads((folder / "classes.json").read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{folder / 'classes.json'} cannot be read: {error}") from None
    files = sorted(folder.glob(f"{split}*.parquet"))
    if not files:
        raise DataError(f"{folder} holds no {split}*.parquet")
    try:
        tables = [pq.read_table(path, columns=["image", "label"]) for path in files]
    except (OSError, ValueError) as error:
        raise DataError(f"{folder}/{split}*.parquet cannot be read: {error}") from None
    labels = np.concatenate([table["label"].to_numpy() for table in tables]).astype(np.int64)
    if labels.min() < 0 or labels.max() >= classes:
        raise DataError(f"{folder}/{split}*.parquet: column label: 0 to {classes - 1} is needed")
    stamp = "".join(f"{path.resolve()} {path.stat().st_size} {path.stat().st_mtime_ns}\n" for path in files)

    def write(aside: Path) -> None:
        encoded = [data for table in tables for data in table["image"].to_pylist()]
        images = _decode_all(encoded, folder / split)
        check_space(cache, images.nbytes, "the decoded images")
        with aside.open("wb") as file:
            np.save(file, images)

    key = hashlib.sha256(stamp.encode()).hexdigest()[:16]
    return LabelledImages(cached(cache / f"labelled-{key}.npy", write), labels, classes)


def _decode_all(encoded: list[bytes], where: Path) -> Photos:
    decoded = []
    with Progress("decoding images", len(encoded), "image") as progress:
        for index, data in enumerate(encoded):
            try:
                decoded.append(np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
            except OSError as error:
                raise DataError(f"{where}: image {index} cannot be read: {error}") from None
            if decoded[-1].shape != decoded[0].shape or decoded[-1].shape[0] != decoded[-1].shape[1]:
                raise DataError(
                    f"{where}: image {index} is {decoded[-1].shape}: all square and alike is needed"
                )
            progress.advance()
    return np.stack(decoded)


def _crop(image: Photos, size: int, rng: np.random.Generator) -> Tensor:
    side = len(image)
    root, stretch = np.sqrt(rng.uniform(LEAST_AREA, 1)), np.exp(rng.uniform(-STRETCH, STRETCH))
    width, height = (
        min(side, max(LEAST_SIDE, round(side * extent))) for extent in (root * stretch, root / stretch)
    )
    left, top = rng.integers(side - width + 1), rng.integers(side - height + 1)
    crop = image[top : top + height, left : left + width]
    crop = crop[:, ::-1] if rng.random() < 0.5 else crop
    tensor = torch.from_numpy(crop.copy()).permute(2, 0, 1).unsqueeze(0)  # channels last in memory
    return F.interpolate(tensor, (size, size), mode="bilinear")[0]
