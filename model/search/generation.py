"""What beam search and sampling share: how the decoder is asked, what is found, what is ruled out."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, inf, where

from model.search.options import GenerationOptions

Step = Callable[[Tensor, Tensor | None], Tensor]
"""(tokens (R, T), rows (R,) or None) → logits (R, V) of the token that follows.

Sequence i continues what sequence `rows[i]` of the call before held; None: the order stands.
The first call brings the prompts with one row an image, each later one K rows an image. Their order changes
within an image only, and images that are done may be left out. The search may write over the logits.
"""


@dataclass(frozen=True, slots=True)
class Continuations:
    """N finished continuations of each image's prompt, best first.

    `tokens` (B, N, T) holds the new tokens only, `lengths` (B, N) how many of them count (the
    end token included, where there is one), `logprobs` (B, N, T) the log-probability of each,
    `scores` (B, N) their sum divided by length^length_penalty.
    """

    tokens: Tensor
    lengths: Tensor
    logprobs: Tensor
    scores: Tensor


def constrain(values: Tensor, seen: Tensor, length: int, options: GenerationOptions, ends: Tensor) -> Tensor:
    """Apply repetition penalty, n-gram ban and minimum length, in this order, to (R, V).

    `seen` (R, T) is the prompt and all tokens since, `length` the number of new tokens with the
    one to choose. `values` are written over.
    """
    if options.repetition_penalty != 1:
        old = values.gather(1, seen)
        penalty = options.repetition_penalty
        values.scatter_(1, seen, where(old < 0, old * penalty, old / penalty))
    n = options.no_repeat_ngram_size
    if 0 < n <= seen.shape[1]:
        ngrams = seen.unfold(1, n, 1)  # (R, T - n + 1, n)
        current = seen[:, None, seen.shape[1] - n + 1 :]  # (R, 1, n - 1)
        repeats = (ngrams[:, :, : n - 1] == current).all(dim=2)
        values.scatter_add_(1, ngrams[:, :, n - 1], where(repeats, -inf, 0.0))
    if length <= options.min_new_tokens:
        values.index_fill_(1, ends, -inf)
    return values
