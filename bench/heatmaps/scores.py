"""How right heatmaps are, where the right answer is known.

pointing    the patch with the most heat has its middle in the box of what the word names
            (the pointing game of Zhang et al., 2018, section 4.2)
deletion    patches are covered with grey, the hottest first: area under the word's probability,
            low is right; insertion: shown on grey, the hottest first, high is right (Petsiuk, Das
            and Saenko, "RISE", 2018, section 4.2)
agreement   rank correlation with the same method's map for a network of random weights; near 0 is
            right, for a map has to depend on what was learnt (Adebayo et al., 2018, section 3)
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.heatmaps.shapes import Box
from model.explain.target import CaptionTarget

STEP = 4
"""Patches that are covered, or shown, from one probability to the next."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Means over all words with a box."""

    words: int
    pointing: float
    deletion: float
    insertion: float
    agreement: float


def points_at(heat: Tensor, box: Box, patch: int) -> bool:
    """Say whether the hottest patch of (rows, columns) has its middle inside a box of pixels."""
    row, column = divmod(int(heat.argmax()), heat.shape[1])
    x, y = (column + 0.5) * patch, (row + 0.5) * patch
    left, top, right, bottom = box
    return left <= x < right and top <= y < bottom


@torch.inference_mode()
def deletion_insertion(target: CaptionTarget, word: int, photo: Tensor, heat: Tensor) -> tuple[float, float]:
    """Areas, 0 to 1, under both curves of one word on a normalised photo (3, height, width)."""
    rows, columns = heat.shape
    hottest = heat.flatten().argsort(descending=True, stable=True)
    shown = torch.ones(rows * columns // STEP + 1, rows * columns)
    for step in range(len(shown)):
        shown[step, hottest[: step * STEP]] = 0
    masks = torch.cat([shown, 1 - shown]).view(-1, 1, rows, columns)
    masks = F.interpolate(masks, size=photo.shape[1:], mode="nearest")
    curves = target.word_logprobs(photo * masks)[:, word].exp().chunk(2)
    deleted, inserted = (torch.trapezoid(curve).item() / (len(shown) - 1) for curve in curves)
    return deleted, inserted


def rank_correlation(one: Tensor, other: Tensor) -> float:
    """Spearman's, of all values of two maps; 0 where one of them is constant."""
    ranks = torch.stack([values.flatten().double() for values in (one, other)])
    if ranks.std(dim=1).min() == 0:
        return 0.0
    ranks = ranks.argsort(dim=1).argsort(dim=1).double()
    return torch.corrcoef(ranks)[0, 1].item()
