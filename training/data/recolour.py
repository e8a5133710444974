"""Random brightness, contrast and saturation of a batch of photos."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Recolouring:
    """Ranges that factors are drawn from, photo by photo; 1 changes nothing."""

    brightness: tuple[float, float]  # of the pixels
    contrast: tuple[float, float]  # of the distances to the photo's mean
    saturation: tuple[float, float]  # of the distances to a pixel's own grey

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            low, high = getattr(self, name)
            if not 0 <= low <= high:
                raise ValueError(f"{name}: two numbers, 0 ≤ low ≤ high, are needed")

    def __call__(self, photos: Tensor, rng: np.random.Generator) -> Tensor:
        """Recolour (B, 3, H, W) uint8 → float32, −1 to 1."""
        draws = [rng.uniform(*span, (len(photos), 1, 1, 1)) for span in self._spans()]
        brightness, contrast, saturation = (torch.from_numpy(draw.astype(np.float32)) for draw in draws)
        x = photos.float() / 127.5 * brightness
        mean = x.mean((1, 2, 3), keepdim=True)
        x = mean + (x - mean) * contrast
        grey = x.mean(1, keepdim=True)
        return (grey + (x - grey) * saturation).clamp(0, 2) - 1

    def _spans(self) -> tuple[tuple[float, float], ...]:
        return self.brightness, self.contrast, self.saturation
