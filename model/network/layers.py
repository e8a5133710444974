"""Building blocks shared by encoder and decoder.

Letters in shapes: B images, R sequences (R = B · captions of each image), T tokens,
S source (image) tokens, C channels, H heads, D channels of one head (C = H · D).
"""

from collections.abc import Callable
from functools import partial

import torch
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


def split_projections(x: Tensor, count: int, heads: int) -> Tensor:
    """Take apart what one product makes of `count` projections: (B, T, count · C) → (count, B, H, T, D)."""
    batch, tokens, width = x.shape
    return x.view(batch, tokens, count, heads, width // (count * heads)).permute(2, 0, 3, 1, 4)


def merge_heads(x: Tensor) -> Tensor:
    """(B, H, T, D) → (B, T, C)."""
    return x.transpose(1, 2).flatten(2)


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    scale: float,
    dropout: float = 0.0,
    causal: bool = False,
    mask: Tensor | None = None,
) -> Tensor:
    """Scaled dot-product attention: query (B, H, T, D), key and value (B, H, S, D) → (B, H, T, D).

    `causal`: T = S, and position t sees no later one. `mask` (B, 1, T, S) is added to the scores.

    PyTorch's fused kernels are the fastest way forward. Their way back on a processor is not: for the
    short sequences of photos and captions, plain products take between a half and a tenth of its time.
    """
    if query.device.type != "cpu" or not torch.is_grad_enabled():
        return F.scaled_dot_product_attention(
            query, key, value, mask, dropout_p=dropout, is_causal=causal, scale=scale
        )
    weights = query * scale @ key.transpose(2, 3)  # (B, H, T, S)
    if causal:
        later = torch.ones(weights.shape[2:], dtype=torch.bool).triu(1)
        weights = weights.masked_fill(later, -torch.inf)
    if mask is not None:
        weights = weights + mask
    weights = F.dropout(weights.softmax(dim=-1, dtype=query.dtype), dropout)
    return weights @ value


class ActivatedLinear(nn.Linear):
    """A linear layer together with the activation after it."""

    def __init__(self, inputs: int, outputs: int, activation: str) -> None:
        super().__init__(inputs, outputs)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """(…, inputs) → (…, outputs)."""
        return ACTIVATIONS[self.activation](super().forward(x))


class MLP(nn.Module):
    """Position-wise feed-forward: C → inner → C."""

    def __init__(self, width: int, inner: int, activation: str) -> None:
        super().__init__()
        self.up = ActivatedLinear(width, inner, activation)
        self.down = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) → (B, T, C)."""
        out: Tensor = self.down(self.up(x))
        return out
