"""Mean cross-attention: what the decoder looked at while it chose a word. No attribution.

As in Xu et al., "Show, Attend and Tell" (2015, section 5.4), with the mean over layers and heads.
It is the fastest method, one pass for everything, and says where the decoder read, not which part
of the photo made the word likely (Jain and Wallace, "Attention is not Explanation", 2019).
"""

from collections.abc import Iterable
from contextlib import ExitStack
from typing import cast

import torch
from torch import Tensor, nn

from model.explain.target import CaptionTarget
from model.network.attention import CrossAttention
from model.network.decoder import DecoderBlock


@torch.inference_mode()
def mean_attention(target: CaptionTarget, photo: Tensor) -> Tensor:
    """Read it for each word on a normalised photo (3, height, width) → float32 (W, rows, columns).

    The mean over layers, heads and a word's tokens, of the position that predicts the token.
    Weights are not negative; with the class token's, which has no place, they add up to 1.
    """
    of_layers: list[Tensor] = []

    def look(module: nn.Module, inputs: tuple[Tensor, Tensor, Tensor]) -> None:
        x, keys, _ = inputs
        of_layers.append(cast(CrossAttention, module).weights(x, keys).float().mean(dim=1))  # (1, T, S)

    with ExitStack() as hooks:
        for block in cast(Iterable[DecoderBlock], target.model.decoder.blocks):
            hooks.enter_context(block.cross_attention.register_forward_pre_hook(look))
        target.logits(photo[None])

    patch = target.model.config.encoder.patch_size
    of_tokens = torch.stack(of_layers).mean(dim=0)[0, :, 1:]  # (T, patches), without the class token
    of_words = (target.membership / target.membership.sum(dim=0)).T @ of_tokens
    return of_words.view(-1, photo.shape[1] // patch, photo.shape[2] // patch).clone()
