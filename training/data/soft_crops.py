"""Batches of crops with their soft labels, for distillation."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from training.data.cutmix import Rectangle
from training.data.photos import Photos
from training.data.soft_labels import SoftLabels, grid_cells

Indices = npt.NDArray[np.intp]


@dataclass(frozen=True)
class CropLabels:
    """Soft labels of B crops."""

    ids: Tensor  # (B, K) int64
    probs: Tensor  # (B, K) float32
    grid_ids: Tensor  # (B, GRID, GRID, K) int64
    grid_probs: Tensor  # (B, GRID, GRID, K) float32

    def to(self, device: torch.device) -> "CropLabels":
        """Move to a device."""
        tensors = (self.ids, self.probs, self.grid_ids, self.grid_probs)
        return CropLabels(*(tensor.to(device) for tensor in tensors))

    def mixed(self, rectangle: Rectangle) -> "CropLabels":
        """Labels of crops after `rectangle` of each one's neighbour was pasted over it."""
        share = rectangle.share
        return replace(
            self,
            ids=torch.cat([self.ids, self.ids.roll(1, 0)], dim=1),
            probs=torch.cat([self.probs * (1 - share), self.probs.roll(1, 0) * share], dim=1),
            grid_ids=rectangle.paste_cells(self.grid_ids),
            grid_probs=rectangle.paste_cells(self.grid_probs),
        )


def crop_photo(photo: npt.NDArray[np.uint8], box: npt.NDArray[np.uint8], flip: bool, size: int) -> Tensor:
    """Cut a box (x, y, width, height) out of (H, W, 3) and scale it to (3, size, size), uint8."""
    x, y, width, height = (int(value) for value in box)
    crop = photo[y : y + height, x : x + width]
    crop = crop[:, ::-1] if flip else crop
    tensor = torch.from_numpy(crop.copy()).permute(2, 0, 1).unsqueeze(0)  # channels last in memory
    return F.interpolate(tensor, (size, size), mode="bilinear", antialias=True)[0]


def draw_crops(
    photos: Photos,
    labels: SoftLabels,
    indices: Indices,
    crops: Indices,
    *,
    flips: npt.NDArray[np.bool_],
    size: int,
) -> tuple[Tensor, CropLabels]:
    """Cut the given crop out of each indexed photo, mirrored where `flips` says so; all three are (B,).

    Returns (B, 3, size, size) uint8 and the labels.
    """
    pixels, cells = [], []
    for index, crop, flip in zip(indices, crops, flips, strict=True):
        box = labels.boxes[index, crop]
        pixels.append(crop_photo(photos[index], box, bool(flip), size))
        cells.append(np.ix_([index], *grid_cells(box, bool(flip))))
    grid_ids = np.concatenate([labels.grid_ids[cell] for cell in cells])
    grid_probs = np.concatenate([labels.grid_probs[cell] for cell in cells])
    probs = torch.from_numpy(labels.crop_probs[indices, crops].astype(np.float32))
    return torch.stack(pixels), CropLabels(
        ids=torch.from_numpy(labels.crop_ids[indices, crops].astype(np.int64)),
        probs=probs / probs.sum(-1, keepdim=True),  # sharper labels teach faster
        grid_ids=torch.from_numpy(grid_ids.astype(np.int64)),
        grid_probs=torch.from_numpy(grid_probs.astype(np.float32)),
    )
