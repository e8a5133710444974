"""A network whose words depend on known patches alone, so that the right heatmap is known."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import cast

import torch
from torch import Tensor

from model.explain.target import CaptionTarget
from model.network.caption_model import CaptionModel

PATCH = 4
Patch = tuple[int, int]


class SpotModel:
    """Word w's log-probability is log σ(brightness of its patch), brightness the sum over its pixels.

    A patch is (row, column). Two tokens, 0 and 1: whatever the position, token 1 has the sum as its
    logit and token 0 has 0.
    """

    def __init__(self, patches: Sequence[Patch]) -> None:
        self.patches = patches
        self.config = SimpleNamespace(decoder_start_token_id=0, encoder=SimpleNamespace(patch_size=PATCH))
        self.decoder = SimpleNamespace(
            embedding=SimpleNamespace(tokens=SimpleNamespace(weight=torch.zeros(2, 1)))
        )
        self.seen = 0  # photos so far

    def __call__(self, pixels: Tensor, tokens: Tensor) -> Tensor:
        self.seen += len(pixels)
        logits = [brightness(pixels, patch) for patch in self.patches]
        shown = torch.stack(logits, dim=1)  # (B, W): one token a word
        return torch.stack([torch.zeros_like(shown), shown], dim=2)


def brightness(pixels: Tensor, patch: Patch) -> Tensor:
    row, column = patch[0] * PATCH, patch[1] * PATCH
    return pixels[:, :, row : row + PATCH, column : column + PATCH].sum(dim=(1, 2, 3))


def spot_target(model: SpotModel) -> CaptionTarget:
    words = [range(index, index + 1) for index in range(len(model.patches))]
    return CaptionTarget(cast(CaptionModel, model), [1] * len(words), words)
