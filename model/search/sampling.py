"""Captions drawn at random from what the model finds likely: temperature, top-k and nucleus sampling.

The distribution that a token is drawn from is the one of Hugging Face transformers' `generate`
with `do_sample`: constraints, then temperature, then top-k, then top-p. The draw itself is made
so that a caption depends on its own seed alone and on nothing else in its batch.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from model.search.generation import Continuations, Step, constrain
from model.search.options import GenerationOptions


def sample(
    step: Step, prompt: Tensor, options: GenerationOptions, end_tokens: Sequence[int], seeds: Sequence[int]
) -> Continuations:
    """Draw `num_captions` continuations of each `prompt` (B, P), from `seeds` one an image.

    They are independent and ordered by their score; two may be equal. `logprobs` are those of
    the model under its constraints, before temperature, top-k and top-p: so scores of samples
    compare with each other, and with those of a greedy search.
    """
    batch, samples, last = len(prompt), options.num_captions, options.max_new_tokens
    device = prompt.device
    ends = torch.tensor(list(end_tokens), device=device)
    chances = torch.cat([uniforms(seed, samples, last) for seed in seeds]).to(device)  # (B · N, T)
    tokens = torch.zeros(batch * samples, last, dtype=torch.long, device=device)
    logprobs = torch.zeros(batch * samples, last, device=device)
    lengths = torch.zeros(batch * samples, dtype=torch.long, device=device)

    beginning = prompt.repeat_interleave(samples, dim=0)
    logits = step(prompt, None).repeat_interleave(samples, dim=0)
    for length in range(1, last + 1):
        seen = torch.cat([beginning, tokens[:, : length - 1]], dim=1)
        values = constrain(logits.float(), seen, length, options, ends)
        drawn = draw(filtered(values, options), chances[:, length - 1])
        running = lengths == 0
        tokens[:, length - 1] = drawn
        logprobs[:, length - 1] = values.log_softmax(dim=1).gather(1, drawn[:, None])[:, 0] * running
        lengths[running & (torch.isin(drawn, ends) | (length == last))] = length
        if length == last or lengths.all():
            break
        rows = None
        if samples > 1 and length == 1:  # every sample grows out of the one row of its prompt
            rows = torch.arange(batch, device=device).repeat_interleave(samples)
        logits = step(drawn[:, None], rows)

    scores = (logprobs.sum(dim=1) / lengths.float() ** options.length_penalty).view(batch, samples)
    order = scores.argsort(dim=1, descending=True, stable=True)
    along_tokens = order[:, :, None].expand(-1, -1, last)
    return Continuations(
        tokens.view(batch, samples, last).gather(1, along_tokens),
        lengths.view(batch, samples).gather(1, order),
        logprobs.view(batch, samples, last).gather(1, along_tokens),
        scores.gather(1, order),
    )


def filtered(values: Tensor, options: GenerationOptions) -> Tensor:
    """Turn constrained logits (R, V) into the probabilities (R, V) that tokens are drawn with.

    Top-k: Fan et al., 2018, section 5.4. Top-p, the smallest set of likeliest tokens that holds
    a share p: Holtzman et al., 2020, section 3.1.
    """
    values = values / options.temperature
    if 0 < options.top_k < values.shape[1]:
        least = values.topk(options.top_k, dim=1).values[:, -1:]
        values = values.masked_fill(values < least, -torch.inf)
    if options.top_p < 1:
        # From the unlikeliest on: what lies within the share 1 - p is out. Among equals, the order
        # of the sort decides.
        ascending, order = values.sort(dim=1)
        outside = ascending.softmax(dim=1).cumsum(dim=1) <= 1 - options.top_p
        outside[:, -1] = False
        values = values.masked_fill(outside.scatter(1, order, outside), -torch.inf)
    return values.softmax(dim=1)


def draw(probabilities: Tensor, chances: Tensor) -> Tensor:
    """Invert the cumulative distribution (R, V) at `chances` (R,), each in [0, 1) → tokens (R,)."""
    cumulative = probabilities.double().cumsum(dim=1)
    # The last sum is 1 up to rounding. A chance of 24 bits times it stays below it in float64.
    return torch.searchsorted(cumulative, chances[:, None] * cumulative[:, -1:], right=True)[:, 0]


def uniforms(seed: int, samples: int, length: int) -> Tensor:
    """Draw the chances (samples, length) of one image, on the processor: the same on every device."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(samples, length, generator=generator).double()
