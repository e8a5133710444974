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

    def grow(self, by: "Candidates", length: int) -> "Hypotheses":
        """Continue them to `length` tokens, with the candidates' scores."""
        grown = self.select(by.parents)
        grown.tokens[:, :, length - 1] = by.tokens
        grown.logprobs[:, :, length - 1] = by.logprobs
        grown.lengths.fill_(length)
        grown.scores = by.scores
        return grown

    def of(self, images: Tensor) -> "Hypotheses":
        """Pick images (B,)."""
        return Hypotheses(
            self.tokens[images], self.logprobs[images], self.lengths[images], self.scores[images]
        )

    def put(self, images: Tensor, others: "Hypotheses") -> None:
        """Write others over those of some images (B,)."""
        self.tokens[images] = others.tokens
        self.logprobs[images] = others.logprobs
        self.lengths[images] = others.lengths
        self.scores[images] = others.scores

    def join(self, other: "Hypotheses") -> "Hypotheses":
        """Put the places of `other` behind one's own."""
        return Hypotheses(
            tokens=torch.cat([self.tokens, other.tokens], dim=1),
            logprobs=torch.cat([self.logprobs, other.logprobs], dim=1),
            lengths=torch.cat([self.lengths, other.lengths], dim=1),
            scores=torch.cat([self.scores, other.scores], dim=1),
        )


@dataclass(frozen=True, slots=True)
class Candidates:
    """C continuations of each image's hypotheses, best first, (B, C) each: whose, by what, sums so far."""

    parents: Tensor
    tokens: Tensor
    logprobs: Tensor
    scores: Tensor

    @classmethod
    def best(cls, count: int, scores: Tensor, logprobs: Tensor) -> "Candidates":
        """Find them among hypotheses of `scores` (B, K), whose next tokens have `logprobs` (B or B · K, V).

        One row an image stands for all its hypotheses.
        """
        of_row = min(count, logprobs.shape[1])  # the best of an image are among the best of each of its rows
        likeliest = logprobs.topk(of_row, dim=1)
        parts, tokens = (
            of.view(len(scores), -1, of_row).expand(-1, scores.shape[1], -1).flatten(1) for of in likeliest
        )
        total, picked = (scores.repeat_interleave(of_row, dim=1) + parts).topk(count, dim=1)
        return cls(picked // of_row, tokens.gather(1, picked), parts.gather(1, picked), total)

    def likeliest(self, count: int, scores: Tensor) -> "Candidates":
        """Keep the best by other `scores` (B, C)."""
        kept = scores.topk(count, dim=1)
        parents, tokens, parts = (
            of.gather(1, kept.indices) for of in (self.parents, self.tokens, self.logprobs)
        )
        return Candidates(parents, tokens, parts, kept.values)


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
    images = torch.arange(batch, device=device)  # those that are still searched for
    # Greedy search ends with its first finished hypothesis, whatever the option says.
    stop_when_full = options.early_stopping is True or beams == 1

    live = Hypotheses.impossible(batch, beams, last, device)
    live.scores[:, 0] = 0  # all beams start alike: only the first may branch
    finished = Hypotheses.impossible(batch, beams, last, device)
    results = Hypotheses.impossible(batch, beams, last, device)

    logits, seen = step(prompt, None), prompt  # one row an image, which stands for all its beams
    for length in range(1, last + 1):
        logprobs = next_logprobs(logits, seen, length, options, ends)
        found = Candidates.best(candidates, live.scores, logprobs)
        over = torch.full_like(found.tokens, length == last, dtype=torch.bool)
        for end in end_tokens:
            over |= found.tokens == end
        eligible = over & in_reach
        if eligible.any():
            ending = live.grow(found, length)
            ending.scores = torch.where(eligible, found.scores / length**options.length_penalty, IMPOSSIBLE)
            ending.lengths *= eligible
            everything = finished.join(ending)
            finished = everything.select(everything.scores.topk(beams, dim=1).indices)
        if length == last:
            break
        survivors = found.likeliest(beams, found.scores + over * IMPOSSIBLE)
        live = live.grow(survivors, length)

        improvable = can_improve(live, finished, length, options)
        if stop_when_full:
            improvable &= (finished.lengths == 0).any(dim=1)
        before = torch.arange(len(images), device=device)[:, None]
        # At first every beam grows out of the one row of its prompt.
        rows = before.expand(-1, beams) if length == 1 else before * beams + survivors.parents
        moved = beams > 1
        if not improvable.all():  # images that are done leave
            results.put(images, finished)
            stay = improvable.nonzero()[:, 0]
            if not len(stay):
                break
            images, prompt, rows, moved = images[stay], prompt[stay], rows[stay], True
            live, finished = live.of(stay), finished.of(stay)
        beginning = prompt.repeat_interleave(beams, dim=0)
        seen = torch.cat([beginning, live.tokens[:, :, :length].flatten(0, 1)], dim=1)
        logits = step(seen[:, -1:], rows.flatten() if moved else None)

    results.put(images, finished)
    best = results.select(torch.arange(options.num_captions, device=device).expand(batch, -1))
    return Continuations(best.tokens, best.lengths, best.logprobs, best.scores)


def can_improve(live: Hypotheses, finished: Hypotheses, length: int, options: GenerationOptions) -> Tensor:
    """Say for each image (B,) whether its best live hypothesis may still beat a finished one."""
    at = (
        options.max_new_tokens if options.early_stopping == "never" and options.length_penalty > 0 else length
    )
    best_possible = live.scores.amax(dim=1) / at**options.length_penalty
    return torch.gt(best_possible, finished.scores.amin(dim=1))


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
