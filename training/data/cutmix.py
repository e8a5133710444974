"""CutMix (Yun et al., 2019) on whole patches.

A patch token then shows one photo alone and keeps its label (MixToken; Jiang et al., "All Tokens
Matter", 2021, section 3.3).
"""

from dataclasses import dataclass

import numpy as np
from torch import Tensor


@dataclass(frozen=True)
class Rectangle:
    """Rows and columns of a grid of `grid` × `grid` patches that come from another photo."""

    rows: slice
    columns: slice
    grid: int

    @property
    def share(self) -> float:
        """Part of the photo that it covers, 0 to 1."""
        height, width = (part.stop - part.start for part in (self.rows, self.columns))
        return float(height * width / self.grid**2)

    def paste(self, pixels: Tensor) -> Tensor:
        """Show in (B, 3, H, W), within the rectangle, each photo's neighbour in the batch."""
        patch = pixels.shape[-1] // self.grid
        rows, columns = (slice(s.start * patch, s.stop * patch) for s in (self.rows, self.columns))
        mixed = pixels.clone()
        mixed[:, :, rows, columns] = pixels.roll(1, 0)[:, :, rows, columns]
        return mixed

    def paste_cells(self, cells: Tensor) -> Tensor:
        """Do the same to what is known of each patch: (B, grid, grid, …)."""
        mixed = cells.clone()
        mixed[:, self.rows, self.columns] = cells.roll(1, 0)[:, self.rows, self.columns]
        return mixed


def draw_rectangle(grid: int, rng: np.random.Generator) -> Rectangle:
    """Draw one of random extent and place."""
    height, width = np.maximum(1, np.round(grid * np.sqrt(rng.uniform(size=2))).astype(int))
    top, left = rng.integers(grid - height + 1), rng.integers(grid - width + 1)
    return Rectangle(slice(top, top + height), slice(left, left + width), grid)
