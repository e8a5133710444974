"""GPT-2 style decoder with cross-attention: image tokens and words so far → next word.

Blocks follow Radford et al. (2019, section 2.3: norm before each sub-layer, one more norm
at the end); cross-attention follows Vaswani et al. (2017, section 3.2.3).
"""

from collections.abc import Iterable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.cache import CrossAttentionKV, SelfAttentionCache
from model.config import TextConfig
from model.layers import MLP, merge_heads, split_heads


class CausalSelfAttention(nn.Module):
    """Each token attends to itself and to the tokens before it."""

    def __init__(self, config: TextConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.heads = config.n_head
        self.scale = attention_scale(config, layer)
        self.dropout = config.attn_pdrop
        self.qkv = nn.Linear(config.n_embd, 3 * config.n_embd)
        self.out = nn.Linear(config.n_embd, config.n_embd)

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

    def __init__(self, config: TextConfig, layer: int) -> None:
        super().__init__()
        self.heads = config.n_head
        self.scale = attention_scale(config, layer)
        self.dropout = config.attn_pdrop
        self.query = nn.Linear(config.n_embd, config.n_embd)
        self.key_value = nn.Linear(config.n_embd, 2 * config.n_embd)
        self.out = nn.Linear(config.n_embd, config.n_embd)

    def keys_values(self, image_tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(B, S, C) → keys and values, each (B, H, S, D)."""
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


class DecoderBlock(nn.Module):
    """Pre-norm block: self-attention, cross-attention, feed-forward, each with a residual."""

    def __init__(self, config: TextConfig, layer: int) -> None:
        super().__init__()
        self.norm_self = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.self_attention = CausalSelfAttention(config, layer)
        self.norm_cross = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.cross_attention = CrossAttention(config, layer)
        self.norm_mlp = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.mlp = MLP(config.n_embd, config.inner_size, config.activation_function)
        self.dropout = nn.Dropout(config.resid_pdrop)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, cache: SelfAttentionCache | None) -> Tensor:
        """(R, T, C) → (R, T, C); `keys` and `values` are the image's, (B, H, S, D)."""
        x = x + self.dropout(self.self_attention(self.norm_self(x), cache))
        x = x + self.dropout(self.cross_attention(self.norm_cross(x), keys, values))
        out: Tensor = x + self.dropout(self.mlp(self.norm_mlp(x)))
        return out


class Decoder(nn.Module):
    """The whole decoder. The output layer shares the token embedding where they are tied."""

    def __init__(self, config: TextConfig, *, tied: bool = True) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.n_embd)
        self.position_embedding = nn.Embedding(config.n_positions, config.n_embd)
        self.dropout = nn.Dropout(config.embd_pdrop)
        self.blocks = nn.ModuleList(DecoderBlock(config, layer) for layer in range(config.n_layer))
        self.norm = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.output = None if tied else nn.Linear(config.n_embd, config.vocab_size, bias=False)

    def cross_keys_values(self, image_tokens: Tensor) -> CrossAttentionKV:
        """(B, S, C) → for each layer its keys and values (B, H, S, D). Once per image."""
        blocks = cast(Iterable[DecoderBlock], self.blocks)
        return [block.cross_attention.keys_values(image_tokens) for block in blocks]

    def new_cache(self, rows: int, positions: int) -> SelfAttentionCache:
        """Make an empty cache for `rows` sequences of up to `positions` tokens."""
        config = self.config
        return SelfAttentionCache(
            layers=config.n_layer,
            rows=rows,
            heads=config.n_head,
            positions=positions,
            width=config.n_embd // config.n_head,
            like=self.token_embedding.weight,
        )

    def forward(self, tokens: Tensor, cross: CrossAttentionKV) -> Tensor:
        """Teacher forcing: token ids (R, T) → logits (R, T, V) of each next token."""
        return self.logits(self.hidden(tokens, cross, None))

    def step(self, tokens: Tensor, cross: CrossAttentionKV, cache: SelfAttentionCache) -> Tensor:
        """Append token ids (R, T) to the cache → logits (R, V) of the token after the last."""
        return self.logits(self.hidden(tokens, cross, cache)[:, -1])

    def hidden(self, tokens: Tensor, cross: CrossAttentionKV, cache: SelfAttentionCache | None) -> Tensor:
        """Token ids (R, T) → final hidden states (R, T, C)."""
        start = 0 if cache is None else cache.length
        positions = torch.arange(start, start + tokens.shape[1], device=tokens.device)
        x = self.dropout(self.token_embedding(tokens) + self.position_embedding(positions))
        for block, (keys, values) in zip(self.blocks, cross, strict=True):
            x = block(x, keys, values, cache)
        if cache is not None:
            cache.advance(tokens.shape[1])
        out: Tensor = self.norm(x)
        return out

    def logits(self, hidden: Tensor) -> Tensor:
        """(…, C) → (…, V)."""
        weight = self.token_embedding.weight if self.output is None else self.output.weight
        return F.linear(hidden, weight)


def attention_scale(config: TextConfig, layer: int) -> float:
    """Factor on query · key: 1/√D unless the config turns it off or divides by the layer number."""
    scale = (config.n_embd // config.n_head) ** -0.5 if config.scale_attn_weights else 1.0
    return scale / (layer + 1) if config.scale_attn_by_inverse_layer_idx else scale
