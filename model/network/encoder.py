"""Vision Transformer: photo → image tokens (Dosovitskiy et al., 2021, section 3.1)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.network.config import VisionConfig
from model.network.conv_stem import ConvStem
from model.network.layers import MLP, attend, merge_heads, split_projections


class PatchEmbedding(nn.Module):
    """Cut the photo into patches, project each one, prepend the class token, add positions."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.grid = config.grid
        width = config.hidden_size
        self.stem = None if config.stem is None else ConvStem(config.stem)
        channels = config.num_channels if config.stem is None else config.stem.width
        self.patch_size = config.patch_size if config.stem is None else 1
        # A convolution without overlap is one matrix product, which trains in half the time on a processor.
        self.projection = nn.Linear(channels * self.patch_size**2, width)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, 1 + self.grid**2, width))
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, pixels: Tensor, start: int = 0) -> Tensor:
        """(B, 3, height, width), normalised → (B, 1 + patches, C); `start` as in `ConvStem`."""
        if self.stem is not None:
            pixels = self.stem(pixels, start)
        size = self.patch_size
        rows, columns = pixels.shape[2] // size, pixels.shape[3] // size
        whole = pixels[:, :, : rows * size, : columns * size]
        patches = whole.reshape(len(pixels), -1, rows, size, columns, size).permute(0, 2, 4, 1, 3, 5)
        tokens = self.projection(patches.reshape(len(pixels), rows * columns, -1))  # row by row
        tokens = torch.cat([self.class_token.expand(len(tokens), -1, -1), tokens], dim=1)
        out: Tensor = self.dropout(tokens + self.positions_for(rows, columns))
        return out

    def positions_for(self, rows: int, columns: int) -> Tensor:
        """Position embeddings (1, 1 + rows · columns, C) for a grid of patches."""
        if (rows, columns) == (self.grid, self.grid):
            return self.positions
        return stretch_positions(self.positions, rows, columns)


def stretch_positions(positions: Tensor, rows: int, columns: int) -> Tensor:
    """Stretch position embeddings (1, 1 + grid², C) bicubically to (1, 1 + rows · columns, C).

    Section 3.2 of the paper: a model can read photos of a size it was not trained at
    when its patch positions are interpolated in two dimensions.
    """
    of_class, of_patches = positions[:, :1], positions[:, 1:]
    grid = math.isqrt(of_patches.shape[1])
    square = of_patches.transpose(1, 2).reshape(1, -1, grid, grid)  # (1, C, grid, grid)
    if square.dtype in (torch.bfloat16, torch.float16):
        square = square.float()  # halves would shift them
    stretched = F.interpolate(square, size=(rows, columns), mode="bicubic", align_corners=False)
    return torch.cat([of_class, stretched.flatten(2).transpose(1, 2).to(of_class.dtype)], dim=1)


class EncoderAttention(nn.Module):
    """Self-attention over all image tokens; query, key and value come from one product."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.heads = config.num_attention_heads
        self.dropout = config.attention_probs_dropout_prob
        self.qkv = nn.Linear(width, 3 * width, bias=config.qkv_bias)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, S, C) → (B, S, C)."""
        query, key, value = split_projections(self.qkv(x), 3, self.heads)
        dropout = self.dropout if self.training else 0.0
        mixed = attend(query, key, value, scale=query.shape[-1] ** -0.5, dropout=dropout)
        out: Tensor = self.out(merge_heads(mixed))
        return out


class EncoderBlock(nn.Module):
    """Pre-norm block: x + attention(norm(x)), then x + mlp(norm(x)); what is added may be scaled."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attention = EncoderAttention(config)
        self.norm_mlp = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = MLP(config.hidden_size, config.intermediate_size, config.hidden_act)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        scaled = config.layer_scale
        self.scale_attention = nn.Parameter(torch.ones(config.hidden_size)) if scaled else None
        self.scale_mlp = nn.Parameter(torch.ones(config.hidden_size)) if scaled else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, S, C) → (B, S, C)."""
        attended = self.attention(self.norm_attention(x))
        x = x + self.dropout(attended if self.scale_attention is None else attended * self.scale_attention)
        added = self.mlp(self.norm_mlp(x))
        out: Tensor = x + self.dropout(added if self.scale_mlp is None else added * self.scale_mlp)
        return out


class Encoder(nn.Module):
    """The whole ViT. Its output is what the decoder's cross-attention reads."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.embedding = PatchEmbedding(config)
        self.blocks = nn.ModuleList(EncoderBlock(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, pixels: Tensor, kept: Tensor | None = None, start: int = 0) -> Tensor:
        """(B, 3, height, width), normalised → (B, S, C), S = 1 class token + patches row by row.

        For training: with `start`, the pixels are what the stem's blocks before that one made of them.
        `kept` (B, k) are the indices of those patches of each photo that the blocks
        see; S is 1 + k then (Liu et al., "PatchDropout", 2023).
        """
        x: Tensor = self.embedding(pixels, start)
        if kept is not None:
            patches = x[:, 1:].take_along_dim(kept.unsqueeze(-1), dim=1)
            x = torch.cat([x[:, :1], patches], dim=1)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.norm(x)
        return out
