"""The decoder: image tokens and words so far → next word.

It is composed of an embedding, blocks and a head. `gpt2` and `bert` say which: they differ in
where they normalise and in their last layers, and in nothing that the search sees.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import cast

from torch import Tensor, nn

from model.network.attention import CausalSelfAttention, CrossAttention
from model.network.cache import CrossAttentionKV, SelfAttentionCache


class DecoderBlock(nn.Module):
    """What a block has; its `forward` is (x, cross, cache) → x as in `gpt2` and `bert`."""

    self_attention: CausalSelfAttention
    cross_attention: CrossAttention


class DecoderHead(nn.Module):
    """What a head has; its `forward` is hidden states (…, C) → logits (…, V) as in `gpt2` and `bert`."""

    output: nn.Linear


class TokenEmbedding(nn.Module):
    """Token and position embeddings, added up; then a norm where the architecture has one."""

    def __init__(self, vocabulary: int, positions: int, width: int, dropout: float, norm: nn.Module) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(positions, width)
        self.norm = norm
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, start: int) -> Tensor:
        """Token ids (R, T) at positions `start` and on → (R, T, C)."""
        positions = self.positions.weight[start : start + tokens.shape[1]]
        out: Tensor = self.dropout(self.norm(self.tokens(tokens) + positions))
        return out


class Decoder(nn.Module):
    """Embedding → blocks → head."""

    def __init__(
        self, embedding: TokenEmbedding, blocks: Sequence[DecoderBlock], head: DecoderHead, *, tied: bool
    ) -> None:
        """Compose; `tied` says whether the token embedding is the output layer, too."""
        super().__init__()
        self.embedding = embedding
        self.blocks = nn.ModuleList(blocks)
        self.head = head
        self.tied = tied
        self.tie()

    def tie(self) -> None:
        """Let the output layer's weights be the token embedding's, where they are tied.

        To be called again when both were assigned new tensors.
        """
        if self.tied:
            self.head.output.weight = self.embedding.tokens.weight

    def cross_keys_values(self, image_tokens: Tensor) -> CrossAttentionKV:
        """(B, S, C) → for each layer its keys and values (B, H, S, D). Once per image."""
        blocks = cast(Iterable[DecoderBlock], self.blocks)
        return [block.cross_attention.keys_values(image_tokens) for block in blocks]

    def new_cache(self, rows: int, positions: int) -> SelfAttentionCache:
        """Make an empty cache for `rows` sequences of up to `positions` tokens."""
        weight = self.embedding.tokens.weight
        heads = cast(DecoderBlock, self.blocks[0]).self_attention.heads
        return SelfAttentionCache(
            layers=len(self.blocks),
            rows=rows,
            heads=heads,
            positions=positions,
            width=weight.shape[1] // heads,
            like=weight,
        )

    def forward(self, tokens: Tensor, cross: CrossAttentionKV | None) -> Tensor:
        """Teacher forcing: token ids (R, T) → logits (R, T, V) of each next token."""
        logits: Tensor = self.head(self.hidden(tokens, cross, None))
        return logits

    def step(self, tokens: Tensor, cross: CrossAttentionKV, cache: SelfAttentionCache) -> Tensor:
        """Append token ids (R, T) to the cache → logits (R, V) of the token after the last.

        Several tokens at once are for an empty cache (a prompt); ValueError otherwise.
        """
        if cache.length and tokens.shape[1] > 1:
            raise ValueError("several tokens at once need an empty cache: their mask starts at position 0")
        logits: Tensor = self.head(self.hidden(tokens, cross, cache)[:, -1])
        return logits

    def stepper(
        self, image_tokens: Tensor, rows: int, positions: int
    ) -> Callable[[Tensor, Tensor | None], Tensor]:
        """Return what a search asks for next words of B images (B, S, C), described by `rows` sequences.

        It keeps what is read anew at each step: (tokens (R, T), rows as in `SelfAttentionCache.select` or
        None, where the order stands) → logits (R, V).
        """
        cross = self.cross_keys_values(image_tokens)  # once per image, shared by its sequences
        cache = self.new_cache(rows, positions)

        def step(tokens: Tensor, rows: Tensor | None) -> Tensor:
            nonlocal cross
            left = None if rows is None else cache.select(rows)
            if left is not None:
                cross = [(keys[left], values[left]) for keys, values in cross]
            return self.step(tokens, cross, cache)

        return step

    def hidden(
        self, tokens: Tensor, cross: CrossAttentionKV | None, cache: SelfAttentionCache | None
    ) -> Tensor:
        """Token ids (R, T) → hidden states (R, T, C) of the last block.

        Without `cross` the decoder is a language model: its cross-attention is left out.
        """
        x: Tensor = self.embedding(tokens, 0 if cache is None else cache.length)
        for layer, block in enumerate(self.blocks):
            x = block(x, None if cross is None else cross[layer], cache)
        if cache is not None:
            cache.advance(*tokens.shape)
        return x
