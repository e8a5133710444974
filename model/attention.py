"""The two attentions of a decoder block. Letters in shapes as in `layers`."""

import torch.nn.functional as F
from torch import Tensor, nn

from model.cache import SelfAttentionCache
from model.layers import merge_heads, split_heads


class CausalSelfAttention(nn.Module):
    """Each token attends to itself and to the tokens before it."""

    def __init__(self, layer: int, width: int, heads: int, scale: float, dropout: float) -> None:
        """Attend in `heads` of width / heads channels; query · key is multiplied by `scale`."""
        super().__init__()
        self.layer = layer  # which part of the cache is its own
        self.heads = heads
        self.scale = scale
        self.dropout = dropout
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, cache: SelfAttentionCache | None) -> Tensor:
        """(R, T, C) → (R, T, C); with a cache, the T tokens follow those it holds."""
        query, key, value = (split_heads(part, self.heads) for part in self.qkv(x).chunk(3, dim=-1))
        if cache is not None:
            key, value = cache.append(self.layer, key, value)
        mixed = F.scaled_dot_product_attention(
            query,
            key,
            value,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=query.shape[2] > 1,  # a lone new token may see everything before it
            scale=self.scale,
        )
        out: Tensor = self.out(merge_heads(mixed))
        return out


class CrossAttention(nn.Module):
    """Each token attends to all tokens of its image."""

    def __init__(self, width: int, source_width: int, heads: int, scale: float, dropout: float) -> None:
        """Attend from tokens of `width` channels to image tokens of `source_width`."""
        super().__init__()
        self.heads = heads
        self.scale = scale
        self.dropout = dropout
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(source_width, 2 * width)
        self.out = nn.Linear(width, width)

    def keys_values(self, image_tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(B, S, source width) → keys and values, each (B, H, S, D)."""
        key, value = self.key_value(image_tokens).chunk(2, dim=-1)
        return split_heads(key, self.heads), split_heads(value, self.heads)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """(R, T, C) with keys and values (B, H, S, D) → (R, T, C).

        Row r belongs to image r // (R / B). All rows of an image stand side by side as its
        queries, so that its keys and values are read in place, not copied for each row.
        """
        rows, tokens, width = x.shape
        query = self.query(x).view(len(keys), -1, width)  # (B, R/B · T, C)
        mixed = F.scaled_dot_product_attention(
            split_heads(query, self.heads),
            keys,
            values,
            dropout_p=self.dropout if self.training else 0.0,
            scale=self.scale,
        )
        out: Tensor = self.out(merge_heads(mixed).view(rows, tokens, width))
        return out
