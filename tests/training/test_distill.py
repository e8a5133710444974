from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F

from training.crops import Batch, crop_photo, draw_batch
from training.errors import DataError
from training.soft_labels import (
    CROP_CLASSES,
    CROPS,
    GRID,
    GRID_CLASSES,
    PHOTO_SIZE,
    SoftLabels,
    grid_cells,
    read_soft_labels,
    soft_cross_entropy,
)


def make_labels(photos: int = 2) -> SoftLabels:
    rng = np.random.default_rng(0)
    boxes = np.tile(np.array([0, 0, 224, 224], np.uint8), (photos, CROPS, 1))
    boxes[:, 1] = [32, 64, 64, 96]
    return SoftLabels(
        names=tuple(f"{index}.webp" for index in range(photos)),
        boxes=boxes,
        crop_ids=rng.integers(1001, size=(photos, CROPS, CROP_CLASSES), dtype=np.uint16),
        crop_probs=rng.dirichlet(np.ones(20), (photos, CROPS))[..., :CROP_CLASSES].astype(np.float16),
        grid_ids=rng.integers(1001, size=(photos, GRID, GRID, GRID_CLASSES), dtype=np.uint16),
        grid_probs=rng.dirichlet(np.ones(6), (photos, GRID, GRID))[..., :GRID_CLASSES].astype(np.float16),
    )


def write_labels(path: Path, labels: SoftLabels) -> None:
    arrays: dict[str, npt.NDArray[Any]] = {
        "crops": labels.boxes,
        "ids": labels.crop_ids,
        "probs": labels.crop_probs,
        "grid_ids": labels.grid_ids,
        "grid_probs": labels.grid_probs,
    }
    columns: dict[str, list[bytes]] = {
        name: [row.tobytes() for row in array] for name, array in arrays.items()
    }
    pq.write_table(pa.table({"file_name": list(labels.names), **columns}), path)


def test_labels_survive_their_file(tmp_path: Path) -> None:
    labels = make_labels()
    write_labels(tmp_path / "labels.parquet", labels)
    found = read_soft_labels(tmp_path / "labels.parquet")
    assert found.names == labels.names
    for name in ("boxes", "crop_ids", "crop_probs", "grid_ids", "grid_probs"):
        np.testing.assert_array_equal(getattr(found, name), getattr(labels, name))


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"file_name": ["a"], "crops": [b"123"]}), tmp_path / "labels.parquet")
    with pytest.raises(DataError, match=r"labels\.parquet: column crops does not fit"):
        read_soft_labels(tmp_path / "labels.parquet")


def test_soft_cross_entropy_is_that_of_the_whole_distribution() -> None:
    logits = torch.randn(3, 10)
    ids = torch.tensor([[1, 2], [5, 0], [9, 3]])
    probs = torch.tensor([[0.5, 0.2], [0.9, 0.1], [0.1, 0.0]])
    whole = ((1 - probs.sum(-1, keepdim=True)) / 10).expand(-1, 10).clone()
    whole.scatter_add_(1, ids, probs)
    torch.testing.assert_close(soft_cross_entropy(logits, ids, probs), F.cross_entropy(logits, whole))


def test_cells_under_a_crop() -> None:
    rows, columns = grid_cells(np.array([0, 0, 224, 224], np.uint8), flip=False)
    assert rows.tolist() == columns.tolist() == list(range(GRID))
    # 64 × 96 pixels from (32, 64) on: columns 1 and 2, rows 2 to 4
    rows, columns = grid_cells(np.array([32, 64, 64, 96], np.uint8), flip=True)
    assert columns.tolist() == [2, 2, 2, 2, 1, 1, 1]
    assert rows.tolist() == [2, 2, 3, 3, 3, 4, 4]


def test_a_crop_shows_its_box() -> None:
    photo = np.zeros((PHOTO_SIZE, PHOTO_SIZE, 3), np.uint8)
    photo[64:160, 32:64, 0] = 255  # the left half of the box is red
    crop = crop_photo(photo, np.array([32, 64, 64, 96], np.uint8), flip=False)
    assert crop.shape == (3, PHOTO_SIZE, PHOTO_SIZE)
    assert crop[0, :, :100].eq(255).all()
    assert crop[0, :, 124:].eq(0).all()
    assert torch.equal(crop_photo(photo, np.array([32, 64, 64, 96], np.uint8), flip=True), crop.flip(-1))


def test_cutmix_keeps_each_patch_with_its_label() -> None:
    labels = make_labels()
    photos = np.zeros((2, PHOTO_SIZE, PHOTO_SIZE, 3), np.uint8)
    photos[1] = 255
    indices, zeros = np.arange(2), np.zeros(2, np.intp)
    batch = draw_batch(photos, labels, indices, zeros, zeros.astype(bool))
    for seed in range(5):
        mixed = batch.cutmix(np.random.default_rng(seed))
        patches = F.avg_pool2d(mixed.pixels[:, 0], PHOTO_SIZE // GRID)
        shown = (patches > 0).long()  # (B, GRID, GRID): which photo each patch shows
        own = torch.arange(2).view(2, 1, 1)
        other = shown != own
        assert other.any()
        grid = batch.grid_ids[shown, torch.arange(GRID).view(-1, 1), torch.arange(GRID)]
        assert torch.equal(mixed.grid_ids, grid)
        share = other[0].float().mean()
        expected = batch.crop_probs[0].sum() * (1 - share)
        torch.testing.assert_close(mixed.crop_probs[0, :CROP_CLASSES].sum(), expected)
        assert isinstance(mixed, Batch)
