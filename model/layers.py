"""Building blocks shared by encoder and decoder.

Letters in shapes: B images, R sequences (R = B · captions of each image), T tokens,
S source (image) tokens, C channels, H heads, D channels of one head (C = H · D).
"""

from collections.abc import Callable
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_new": partial(F.gelu, approximate="tanh"),
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
}
"""Hugging Face activation names → functions. `gelu_new` is GPT-2's tanh approximation."""


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, T, C) → (B, H, T, D)."""
    batch, tokens, width = x.shape
    return x.view(batch, tokens, heads, width // heads).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """(B, H, T, D) → (B, T, C)."""
    return x.transpose(1, 2).flatten(2)


class MLP(nn.Module):
    """Position-wise feed-forward: C → inner → C."""

    def __init__(self, width: int, inner: int, activation: str) -> None:
        super().__init__()
        self.up = nn.Linear(width, inner)
        self.down = nn.Linear(inner, width)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) → (B, T, C)."""
        out: Tensor = self.down(self.activation(self.up(x)))
        return out
