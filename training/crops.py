"""Batches of crops with their soft labels, for distillation."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from training.photos import Photos
from training.soft_labels import GRID, PHOTO_SIZE, SoftLabels, grid_cells

Indices = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Batch:
    """Crops with their labels."""

    pixels: Tensor  # (B, 3, 224, 224) float32, −1 to 1
    crop_ids: Tensor  # (B, K) int64
    crop_probs: Tensor  # (B, K) float32
    grid_ids: Tensor  # (B, GRID, GRID, K) int64
    grid_probs: Tensor  # (B, GRID, GRID, K) float32

    def cutmix(self, rng: np.random.Generator) -> "Batch":
        """Paste a rectangle of each photo's neighbour in the batch over it.

        CutMix (Yun et al., 2019) on whole patches, so that each patch token keeps the label of what
        it shows (MixToken; Jiang et al., "All Tokens Matter", 2021, section 3.3).
        """
        height, width = np.maximum(1, np.round(GRID * np.sqrt(rng.uniform(size=2))).astype(int))
        top, left = rng.integers(GRID - height + 1), rng.integers(GRID - width + 1)
        rows, columns = slice(top, top + height), slice(left, left + width)
        patch = PHOTO_SIZE // GRID
        pixel_rows, pixel_columns = (slice(s.start * patch, s.stop * patch) for s in (rows, columns))
        share = height * width / GRID**2
        pixels, grid_ids, grid_probs = self.pixels.clone(), self.grid_ids.clone(), self.grid_probs.clone()
        pixels[:, :, pixel_rows, pixel_columns] = self.pixels.roll(1, 0)[:, :, pixel_rows, pixel_columns]
        grid_ids[:, rows, columns] = self.grid_ids.roll(1, 0)[:, rows, columns]
        grid_probs[:, rows, columns] = self.grid_probs.roll(1, 0)[:, rows, columns]
        crop_ids = torch.cat([self.crop_ids, self.crop_ids.roll(1, 0)], dim=1)
        crop_probs = torch.cat([self.crop_probs * (1 - share), self.crop_probs.roll(1, 0) * share], dim=1)
        return Batch(pixels, crop_ids, crop_probs, grid_ids, grid_probs)


def crop_photo(photo: npt.NDArray[np.uint8], box: npt.NDArray[np.uint8], flip: bool) -> Tensor:
    """Cut a box (x, y, width, height) out of (H, W, 3) and enlarge it to (3, 224, 224), uint8."""
    x, y, width, height = (int(value) for value in box)
    crop = photo[y : y + height, x : x + width]
    crop = crop[:, ::-1] if flip else crop
    tensor = torch.from_numpy(crop.copy()).permute(2, 0, 1).unsqueeze(0)  # channels last in memory
    return F.interpolate(tensor, (PHOTO_SIZE, PHOTO_SIZE), mode="bilinear", antialias=True)[0]


def draw_batch(
    photos: Photos, labels: SoftLabels, indices: Indices, crops: Indices, flips: npt.NDArray[np.bool_]
) -> Batch:
    """Cut the given crop out of each indexed photo, mirrored where `flips` says so; all three are (B,)."""
    pixels, cells = [], []
    for index, crop, flip in zip(indices, crops, flips, strict=True):
        box = labels.boxes[index, crop]
        pixels.append(crop_photo(photos[index], box, bool(flip)))
        cells.append(np.ix_([index], *grid_cells(box, bool(flip))))
    grid_ids = np.concatenate([labels.grid_ids[cell] for cell in cells])
    grid_probs = np.concatenate([labels.grid_probs[cell] for cell in cells])
    crop_probs = torch.from_numpy(labels.crop_probs[indices, crops].astype(np.float32))
    return Batch(
        pixels=torch.stack(pixels).float() / 127.5 - 1,
        crop_ids=torch.from_numpy(labels.crop_ids[indices, crops].astype(np.int64)),
        crop_probs=crop_probs / crop_probs.sum(-1, keepdim=True),  # sharper labels teach faster
        grid_ids=torch.from_numpy(grid_ids.astype(np.int64)),
        grid_probs=torch.from_numpy(grid_probs.astype(np.float32)),
    )
