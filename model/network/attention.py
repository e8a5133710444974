"""The two attentions of a decoder block. Letters in shapes as in `layers`."""

from torch import Tensor, nn

from model.network.cache import SelfAttentionCache
from model.network.layers import attend, merge_heads, split_heads, split_projections


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
        roots = cache.roots if cache is not None and cache.roots else len(x)
        # With a cache, all sequences of a root stand side by side, as the tokens of one sequence do.
        query_key_value = split_projections(self.qkv(x).view(roots, -1, 3 * x.shape[2]), 3, self.heads)
        query = query_key_value[0]  # (roots, H, R / roots · T, D)
        if cache is None:
            key, value = query_key_value[1], query_key_value[2]
        else:
            key, value = cache.append(self.layer, query_key_value[1:])
        mixed = attend(
            query,
            key,
            value,
            scale=self.scale,
            dropout=self.dropout if self.training else 0.0,
            causal=x.shape[1] > 1,  # a lone new token may see everything before it
            mask=None if cache is None else cache.mask,
        )
        out: Tensor = self.out(merge_heads(mixed).view(x.shape))
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
        # Laid out as they are read, once for all steps.
        key, value = split_projections(self.key_value(image_tokens), 2, self.heads).contiguous().unbind()
        return key, value

    def forward(self, x: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """(R, T, C) with keys and values (B, H, S, D) → (R, T, C).

        Row r belongs to image r // (R / B). All rows of an image stand side by side as its
        queries, so that its keys and values are read in place, not copied for each row.
        """
        rows, tokens, width = x.shape
        query = self.query(x).view(len(keys), -1, width)  # (B, R/B · T, C)
        mixed = attend(
            split_heads(query, self.heads),
            keys,
            values,
            scale=self.scale,
            dropout=self.dropout if self.training else 0.0,
        )
        out: Tensor = self.out(merge_heads(mixed).view(rows, tokens, width))
        return out

    def weights(self, x: Tensor, keys: Tensor) -> Tensor:
        """(R, T, C) with keys (B, H, S, D) → (R, H, T, S): how much of each image token a token reads.

        For looking at only: `forward` goes through a fused kernel, which never makes them.
        """
        rows, tokens, _ = x.shape
        query = self.query(x).view(len(keys), -1, x.shape[2])
        scores = split_heads(query, self.heads) @ keys.transpose(2, 3) * self.scale  # (B, H, R/B · T, S)
        of_images = scores.float().softmax(dim=-1)
        of_rows = of_images.view(len(keys), self.heads, rows // len(keys), tokens, -1)
        return of_rows.transpose(1, 2).flatten(0, 1)
