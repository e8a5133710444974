"""What a classifier said of each photo: soft labels of crops, and of the cells of a grid.

Stored labels take the classifier out of the training loop (Shen and Xing, "A Fast Knowledge
Distillation Framework for Visual Recognition", 2021).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import torch
from torch import Tensor

from training.errors import DataError

PHOTO_SIZE = 224  # pixels; the boxes of the crops are written for photos of this size
CROPS = 24
CROP_CLASSES = 12
GRID = 7
GRID_CLASSES = 3


@dataclass(frozen=True)
class SoftLabels:
    """Labels of N photos. Probabilities are those of the top classes, so their sum is below 1.

    The file also says which crops the classifier saw mirrored. That is not read: its answer hardly
    depends on it, and training mirrors at random anyway.
    """

    names: tuple[str, ...]
    boxes: npt.NDArray[np.uint8]  # (N, CROPS, 4): x, y, width, height in pixels; the first is the whole photo
    crop_ids: npt.NDArray[np.uint16]  # (N, CROPS, CROP_CLASSES)
    crop_probs: npt.NDArray[np.float16]
    grid_ids: npt.NDArray[np.uint16]  # (N, GRID, GRID, GRID_CLASSES), rows from the top
    grid_probs: npt.NDArray[np.float16]


def read_soft_labels(path: Path) -> SoftLabels:
    """Read the Parquet file; raises DataError naming it and the column that does not fit."""
    try:
        table = pq.read_table(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None

    def column(name: str, dtype: type, *shape: int) -> Any:  # noqa: ANN401  # an array of `dtype`
        try:
            return np.frombuffer(b"".join(table[name].to_pylist()), dtype).reshape(table.num_rows, *shape)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}: column {name} does not fit: {error}") from None

    return SoftLabels(
        names=tuple(table["file_name"].to_pylist()),
        boxes=column("crops", np.uint8, CROPS, 4),
        crop_ids=column("ids", np.uint16, CROPS, CROP_CLASSES),
        crop_probs=column("probs", np.float16, CROPS, CROP_CLASSES),
        grid_ids=column("grid_ids", np.uint16, GRID, GRID, GRID_CLASSES),
        grid_probs=column("grid_probs", np.float16, GRID, GRID, GRID_CLASSES),
    )


def grid_cells(box: npt.NDArray[np.uint8], flip: bool) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Rows and columns (GRID,) of the photo's cells that lie under the cells of a crop.

    A crop's own map of labels is cut from the photo's one (Yun et al., "Re-labeling ImageNet",
    2021, section 3.2), here from the nearest cell.
    """
    x, y, width, height = (int(value) for value in box)
    centres = (np.arange(GRID) + 0.5) / GRID
    cell = PHOTO_SIZE / GRID
    rows = ((y + height * centres) / cell).astype(np.intp)
    columns = ((x + width * centres) / cell).astype(np.intp)
    return rows, columns[::-1] if flip else columns


def soft_cross_entropy(logits: Tensor, ids: Tensor, probs: Tensor) -> Tensor:
    """Mean cross-entropy of logits (N, V) against top classes: ids (N, K), probs (N, K).

    What the top classes leave of the probability is spread evenly over all V (marginal smoothing,
    Shen and Xing, 2021, section 3.3). As Σ p = 1, −Σ p log softmax(z) = logsumexp(z) − Σ p z.
    """
    rest = (1 - probs.sum(-1)).clamp(min=0)
    named = (probs * logits.gather(-1, ids)).sum(-1)
    return (torch.logsumexp(logits, -1) - named - rest * logits.mean(-1)).mean()
