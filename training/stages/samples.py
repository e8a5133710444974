"""Captions drawn from the network's own distribution, many of each photo at once."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from model.network.cache import CrossAttentionKV
from model.network.decoder import Decoder
from training.data.batches import PADDING


@torch.no_grad()
def draw_captions(
    decoder: Decoder,
    cross: CrossAttentionKV,
    *,
    start: int,
    ends: Sequence[int],
    per_photo: int,
    most: int,
    generator: torch.Generator,
) -> Tensor:
    """Draw `per_photo` captions of each of B photos, those of a photo side by side, token by token.

    Returns targets (B · per_photo, T) int64, T at most `most`: the tokens up to and with the end
    token, where there is one, then PADDING.
    """
    rows = len(cross[0][0]) * per_photo
    device = cross[0][0].device
    cache = decoder.new_cache(rows, most)
    last = torch.full((rows, 1), start, device=device)
    stops = torch.tensor(list(ends), device=device)
    ended = torch.zeros(rows, 1, dtype=torch.bool, device=device)
    drawn: list[Tensor] = []
    while len(drawn) < most and not ended.all():
        last = draw(decoder.step(last, cross, cache), generator)
        drawn.append(last.masked_fill(ended, PADDING))
        ended = ended | torch.isin(last, stops)
    return torch.cat(drawn, dim=1)


def draw(logits: Tensor, generator: torch.Generator) -> Tensor:
    """Draw a token (R, 1) from each row of logits (R, V).

    One uniform number a row finds its place among the summed probabilities. `torch.multinomial` draws
    one for each token of the vocabulary, which takes a third of the time of a step.
    """
    sums = logits.float().softmax(dim=-1).cumsum(dim=-1)
    places = torch.rand(len(sums), 1, generator=generator, device=sums.device) * sums[:, -1:]
    return torch.searchsorted(sums, places, right=True).clamp(max=sums.shape[1] - 1)


def by_length(targets: Tensor, per_photo: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Cut targets (B · n, T) into n parts: the shortest caption of each photo, the next, and so on.

    Yields the part's rows (B,) and their targets (B, t), without the columns that are padding
    for all: teacher forcing then computes a third less than on all rows at once.
    """
    lengths = (targets != PADDING).sum(dim=1).view(-1, per_photo)
    order = lengths.argsort(dim=1, stable=True)
    first = torch.arange(len(order), device=order.device) * per_photo
    for rank in range(per_photo):
        rows = first + order[:, rank]
        part = targets[rows]
        yield rows, part[:, (part != PADDING).any(dim=0)]


def inputs_of(targets: Tensor, start: int) -> Tensor:
    """Teacher forcing for targets (R, T): what the decoder has read before each of them, (R, T)."""
    before = targets[:, :-1].clamp(min=0)  # any token does where nothing counts
    return torch.cat([torch.full_like(targets[:, :1], start), before], dim=1)
