"""Beam search over a batch of images at once, as a pure function over a step function.

Token for token what Hugging Face transformers' `generate` returns for the same options, so
that published checkpoints keep their captions. All state is tensors of shape (B images, K
beams, …); nothing loops over images or beams in Python.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.search.generation import Continuations, Step, constrain
from model.search.options import GenerationOptions

IMPOSSIBLE = -1e9  # the log-probability of a hypothesis that is out; finite, so that sums stay ordered


@dataclass(slots=True)
class Hypotheses:
    """K hypotheses of each image: tokens (B, K, T), logprobs (B, K, T), lengths and scores (B, K)."""

    tokens: Tensor
    logprobs: Tensor
    lengths: Tensor
    scores: Tensor

    @classmethod
    def impossible(cls, batch: int, beams: int, length: int, device: torch.device) -> "Hypotheses":
        """K places of each image, all free."""
        return cls(
            tokens=torch.zeros(batch, beams, length, dtype=torch.long, device=device),
            logprobs=torch.zeros(batch, beams, length, device=device),
            lengths=torch.zeros(batch, beams, dtype=torch.long, device=device),
            scores=torch.full((batch, beams), IMPOSSIBLE, device=device),
        )

    def select(self, index: Tensor) -> "Hypotheses":
        """Pick places (B, N) along the beam dimension."""
        along_tokens = index[:, :, None].expand(-1, -1, self.tokens.shape[2])
        return Hypotheses(
            tokens=self.tokens.gather(1, along_tokens),
            logprobs=self.logprobs.gather(1, along_tokens),
            lengths=self.lengths.gather(1, index),
            scores=self.scores.gather(1, index),
        )

    def join(self, other: "Hypotheses") -> "Hypotheses":
        """Put the places of `other` behind one's own."""
        return Hypotheses(
            tokens=torch.cat([self.tokens, other.tokens], dim=1),
            logprobs=torch.cat([self.logprobs, other.logprobs], dim=1),
            lengths=torch.cat([self.lengths, other.lengths], dim=1),
            scores=torch.cat([self.scores, other.scores], dim=1),
        )


def beam_search(
    step: Step, prompt: Tensor, options: GenerationOptions, end_tokens: Sequence[int]
) -> Continuations:
    """Search for the best continuations of `prompt` (B, P), which holds the start token.

    At each step every image has K · V candidates, of which the best (1 + end tokens) · K are
    looked at, so that at least K can go on. Those that end, and rank among the best K, move to
    the finished hypotheses; the best K of the others live on.
    """
    batch, beams, last = len(prompt), options.num_beams, options.max_new_tokens
    device = prompt.device
    candidates = max(2, 1 + len(end_tokens)) * beams
    ends = torch.tensor(list(end_tokens), device=device)
    in_reach = torch.arange(candidates, device=device) < beams  # candidates that may finish
    images = torch.arange(batch, device=device)
    # Greedy search ends with its first finished hypothesis, whatever the option says.
    stop_when_full = options.early_stopping is True or beams == 1

    live = Hypotheses.impossible(batch, beams, last, device)
    live.scores[:, 0] = 0  # all beams start alike: only the first may branch
    finished = Hypotheses.impossible(batch, beams, last, device)
    improvable = torch.ones(batch, 1, dtype=torch.bool, device=device)

    logits = step(prompt, None).repeat_interleave(beams, dim=0)
    for length in range(1, last + 1):
        seen = torch.cat([prompt[:, None].expand(-1, beams, -1), live.tokens[:, :, : length - 1]], dim=2)
        logprobs = next_logprobs(logits, seen.flatten(0, 1), length, options, ends)
        vocabulary = logprobs.shape[1]
        logprobs = logprobs.view(batch, beams, vocabulary)
        total = live.scores[:, :, None] + logprobs
        scores, picked = total.flatten(1).topk(candidates, dim=1)
        parents, tokens = picked // vocabulary, picked % vocabulary

        grown = live.select(parents)
        grown.tokens[:, :, length - 1] = tokens
        grown.logprobs[:, :, length - 1] = logprobs.flatten(1).gather(1, picked)
        grown.lengths = torch.full_like(grown.lengths, length)
        over = torch.isin(tokens, ends) | (length == last)

        grown.scores = scores + over * IMPOSSIBLE
        survivors = grown.scores.topk(beams, dim=1).indices
        live = grown.select(survivors)

        full = (finished.lengths > 0).all(dim=1, keepdim=True)
        open_to_more = improvable & ~full if stop_when_full else improvable
        eligible = over & in_reach & open_to_more
        grown.scores = torch.where(eligible, scores / length**options.length_penalty, IMPOSSIBLE)
        grown.lengths = grown.lengths * eligible
        everything = finished.join(grown)
        finished = everything.select(everything.scores.topk(beams, dim=1).indices)

        improvable &= can_improve(live, finished, length, options)
        full = (finished.lengths > 0).all()
        if length == last or not improvable.any() or (stop_when_full and full):
            break
        rows: Tensor | None = None
        if beams > 1 and length == 1:  # every beam grows out of the one row of its prompt
            rows = images.repeat_interleave(beams)
        elif beams > 1:
            rows = (images[:, None] * beams + parents.gather(1, survivors)).flatten()
        logits = step(live.tokens[:, :, length - 1].reshape(-1, 1), rows)

    best = finished.select(torch.arange(options.num_captions, device=device).expand(batch, -1))
    return Continuations(best.tokens, best.lengths, best.logprobs, best.scores)


def can_improve(live: Hypotheses, finished: Hypotheses, length: int, options: GenerationOptions) -> Tensor:
    """Say for each image (B, 1) whether its best live hypothesis may still beat a finished one."""
    at = (
        options.max_new_tokens if options.early_stopping == "never" and options.length_penalty > 0 else length
    )
    best_possible = live.scores.amax(dim=1, keepdim=True) / at**options.length_penalty
    return torch.gt(best_possible, finished.scores.amin(dim=1, keepdim=True))


def next_logprobs(
    logits: Tensor, seen: Tensor, length: int, options: GenerationOptions, ends: Tensor
) -> Tensor:
    """Turn logits (R, V) into the log-probabilities that the search adds up.

    `seen` (R, T) is the prompt and all tokens since, `length` the number of new tokens with the
    one to choose. The constraints are not renormalised in beam search. Greedy search applies
    them to the logits instead, which changes what the repetition penalty does.
    """
    logits = logits.float()
    if options.num_beams == 1:
        return constrain(logits, seen, length, options, ends).log_softmax(dim=-1)
    return constrain(logits.log_softmax(dim=-1), seen, length, options, ends)
