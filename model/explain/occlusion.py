"""Occlusion: how far a word's log-probability falls where a part of the photo is covered.

Zeiler and Fergus (2014, section 4.2), by `captum.attr.Occlusion`. Windows are whole patches,
covered with the value that normalises to 0, the grey that the network takes for the middle. One
sweep is enough for all words, since one pass gives all their log-probabilities.
"""

import math
import time
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model.errors import ExplanationTimeout
from model.explain.bounds import ExplainBounds
from model.explain.target import CaptionTarget

FRACTION = 2 / 7
"""A window's side ÷ the photo's: 64 of 224 pixels, which covers an object's part and not the scene."""


@dataclass(frozen=True, slots=True)
class Windows:
    """How windows slide along one side of the photo: `size` patches long, `stride` from one to the next.

    The first and the last hang over the edges, so that as many windows cover a patch there as
    anywhere. Without that, heat is drawn to the edges, where it is the mean of fewer windows.
    """

    size: int
    stride: int

    @classmethod
    def along(cls, patches: int) -> "Windows":
        """Choose for a side of so many patches.

        Coarse grids have windows of 3 patches and stride 1 (half the side where that is less),
        finer ones 2/7 of the side and half of that as the stride.
        """
        size = min(max(3, math.ceil(FRACTION * patches)), max(1, patches // 2))
        return cls(size, 1 if size <= 3 else size // 2)

    @property
    def overhang(self) -> int:
        """Patches that the first window begins before the photo."""
        return self.size - self.stride

    def count(self, patches: int) -> int:
        """Windows along a side of so many patches."""
        return math.ceil((patches + 2 * self.overhang - self.size) / self.stride) + 1


def windows_for(rows: int, columns: int, most: int) -> tuple[Windows, Windows]:
    """Choose windows down and across, at most `most` of them together.

    Where there would be more, the stride of the side with more windows grows (of both, where they
    have as many), and the windows with it, so that no patch is left out.
    """
    down, across = Windows.along(rows), Windows.along(columns)
    while (high := down.count(rows)) * (wide := across.count(columns)) > most:
        if high >= wide:
            down = Windows(max(down.size, down.stride + 1), down.stride + 1)
        if wide >= high:
            across = Windows(max(across.size, across.stride + 1), across.stride + 1)
    return down, across


def occlusion(target: CaptionTarget, photo: Tensor, bounds: ExplainBounds) -> Tensor:
    """Explain each word on a normalised photo (3, height, width) → float32 (W, rows, columns).

    A patch has the mean fall (nats; negative where the word becomes likelier) over the windows
    that cover it. Raises ExplanationTimeout after `bounds.max_seconds`: half a sweep explains nothing.
    """
    from captum.attr import Occlusion  # noqa: PLC0415  # it loads matplotlib, which captions do without

    patch = target.model.config.encoder.patch_size
    rows, columns = photo.shape[1] // patch, photo.shape[2] // patch
    down, across = windows_for(rows, columns, bounds.max_passes - 1)
    began = time.monotonic()

    def within(grid: Tensor) -> Tensor:
        """(…, rows and overhangs, columns and overhangs) → (…, rows, columns)."""
        return grid[..., down.overhang : down.overhang + rows, across.overhang : across.overhang + columns]

    # Captum perturbs a grid of ones, one for each patch, not the pixels: its masks and sums then
    # have the size of the map, not that of W photos, and windows can hang over the edges.
    def word_logprobs(kept: Tensor) -> Tensor:
        if time.monotonic() - began > bounds.max_seconds:
            raise ExplanationTimeout(
                f"occlusion takes longer than {bounds.max_seconds:g} s; attention is faster"
            )
        shown = F.interpolate(within(kept), scale_factor=patch, mode="nearest")  # (P, 1, height, width)
        return target.word_logprobs(photo.to(shown) * shown)

    everything = torch.ones(
        1, 1, rows + 2 * down.overhang, columns + 2 * across.overhang, device=target.device
    )
    found: Tensor = Occlusion(word_logprobs).attribute(
        everything,
        sliding_window_shapes=(1, down.size, across.size),
        strides=(1, down.stride, across.stride),
        baselines=0,
        perturbations_per_eval=bounds.batch,
    )
    return within(found[:, 0]).contiguous()
