"""Beam search with enough beams is exhaustive search, which a few lines of plain Python do."""

import itertools
import math
import random
from collections.abc import Iterator
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from model.search.beam import beam_search
from model.search.options import GenerationOptions

START = 0


class World:
    """Random next-token logits that depend on the image and on the whole prefix."""

    def __init__(self, seed: int, vocabulary: int) -> None:
        self.seed = seed
        self.vocabulary = vocabulary

    def logits(self, image: int, prefix: tuple[int, ...]) -> list[float]:
        draw = random.Random(repr((self.seed, image, prefix)))
        return [draw.gauss(0, 1.5) for _ in range(self.vocabulary)]


class Stepper:
    """The step function of a search: keeps image and prefix of every row, as a cache would."""

    def __init__(self, world: World, images: int) -> None:
        self.world = world
        self.prefixes: list[tuple[int, tuple[int, ...]]] = [(image, ()) for image in range(images)]
        self.rows: list[int] = []

    def __call__(self, tokens: Tensor, rows: Tensor | None) -> Tensor:
        if rows is not None:
            self.prefixes = [self.prefixes[row] for row in rows.tolist()]
        self.rows.append(len(self.prefixes))
        self.prefixes = [
            (image, (*before, *new))
            for (image, before), new in zip(self.prefixes, tokens.tolist(), strict=True)
        ]
        return torch.tensor([self.world.logits(image, prefix) for image, prefix in self.prefixes])


class Hypothesis(NamedTuple):
    score: float
    tokens: list[int]
    logprobs: list[float]


def log_softmax(logits: list[float]) -> list[float]:
    total = math.log(sum(math.exp(value) for value in logits))
    return [value - total for value in logits]


def banned(prefix: tuple[int, ...], token: int, size: int) -> bool:
    """Whether `token` after `prefix` completes an n-gram that is in it already."""
    ngrams = [prefix[at : at + size] for at in range(len(prefix) - size + 1)]
    return size > 0 and len(prefix) >= size - 1 and (*prefix[len(prefix) - size + 1 :], token) in ngrams


def token_logprob(
    world: World,
    image: int,
    prefix: tuple[int, ...],
    token: int,
    *,
    options: GenerationOptions,
    ends: set[int],
) -> float:
    if banned(prefix, token, options.no_repeat_ngram_size):
        return -math.inf
    if token in ends and len(prefix) - 1 < options.min_new_tokens:
        return -math.inf
    logprob = log_softmax(world.logits(image, prefix))[token]
    return logprob * options.repetition_penalty if token in prefix else logprob


def every_caption(world: World, longest: int, ends: set[int]) -> Iterator[list[int]]:
    """Sequences that end with their only end token, or have the full length without one."""
    for length in range(1, longest + 1):
        for tokens in itertools.product(range(world.vocabulary), repeat=length):
            if ends.isdisjoint(tokens[:-1]) and (tokens[-1] in ends or length == longest):
                yield list(tokens)


def exhaustive(world: World, image: int, options: GenerationOptions, ends: set[int]) -> list[Hypothesis]:
    found = []
    for tokens in every_caption(world, options.max_new_tokens, ends):
        logprobs = [
            token_logprob(world, image, (START, *tokens[:at]), token, options=options, ends=ends)
            for at, token in enumerate(tokens)
        ]
        found.append(Hypothesis(sum(logprobs) / len(tokens) ** options.length_penalty, tokens, logprobs))
    return sorted(found, reverse=True)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("options", "ends"),
    [
        (GenerationOptions(), [1]),
        (GenerationOptions(length_penalty=0.0), [1]),
        (GenerationOptions(length_penalty=2.0), [1]),
        (GenerationOptions(length_penalty=-1.0, early_stopping="never"), [1]),
        (GenerationOptions(min_new_tokens=2), [1]),
        (GenerationOptions(no_repeat_ngram_size=1), [1]),
        (GenerationOptions(no_repeat_ngram_size=2), [1]),
        (GenerationOptions(no_repeat_ngram_size=3), [1]),
        (GenerationOptions(repetition_penalty=1.4), [1]),
        (GenerationOptions(repetition_penalty=0.7, length_penalty=0.5), [START]),
        (GenerationOptions(early_stopping="never"), [1, 2]),
    ],
)
def test_wide_beams_find_what_exhaustive_search_finds(
    options: GenerationOptions, ends: list[int], seed: int
) -> None:
    world, images, longest = World(seed, vocabulary=4), 2, 4
    wide = options.replace(num_beams=4 * 3 ** (longest - 1), num_captions=5, max_new_tokens=longest)
    prompt = torch.full((images, 1), START)
    found = beam_search(Stepper(world, images), prompt, wide, ends)
    for image in range(images):
        best = exhaustive(world, image, wide, set(ends))[: wide.num_captions]
        for place, hypothesis in enumerate(best):
            length = int(found.lengths[image, place])
            assert found.tokens[image, place, :length].tolist() == hypothesis.tokens
            assert found.scores[image, place].item() == pytest.approx(hypothesis.score, rel=1e-5, abs=1e-5)
            assert found.logprobs[image, place, :length].tolist() == pytest.approx(
                hypothesis.logprobs, abs=1e-5
            )


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("length_penalty", [-1.0, 1.0, 3.0])
def test_one_beam_takes_the_likeliest_token_each_time(seed: int, length_penalty: float) -> None:
    """Also where the length penalty would prefer to go on: greedy search ends at its end token."""
    world = World(seed, vocabulary=6)
    prefix: tuple[int, ...] = (START,)
    while len(prefix) < 8 and 1 not in prefix:
        logits = world.logits(0, prefix)
        prefix = (*prefix, logits.index(max(logits)))
    options = GenerationOptions(max_new_tokens=7, length_penalty=length_penalty, early_stopping="never")
    found = beam_search(Stepper(world, 1), torch.full((1, 1), START), options, end_tokens=[1])
    assert found.tokens[0, 0, : found.lengths[0, 0]].tolist() == list(prefix[1:])


def test_images_of_a_batch_do_not_see_each_other() -> None:
    options = GenerationOptions(num_beams=3, num_captions=3, max_new_tokens=6, no_repeat_ngram_size=2)

    class Shifted(World):
        def logits(self, image: int, prefix: tuple[int, ...]) -> list[float]:
            return super().logits(image + self.shift, prefix)

        shift = 0

    together = beam_search(Stepper(World(7, 9), 5), torch.full((5, 1), START), options, [1])
    for image in range(5):
        world = Shifted(7, 9)
        world.shift = image
        alone = beam_search(Stepper(world, 1), torch.full((1, 1), START), options, [1])
        for name in ("tokens", "lengths", "logprobs", "scores"):
            ours, theirs = getattr(together, name)[image], getattr(alone, name)[0]
            width = min(ours.shape[-1], theirs.shape[-1])
            torch.testing.assert_close(ours[..., :width], theirs[..., :width], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("beams", [1, 3])
def test_images_leave_as_soon_as_they_are_done(beams: int) -> None:
    """So nothing is computed for them that they alone would not have needed."""
    options, images = GenerationOptions(num_beams=beams, max_new_tokens=12), 6

    class One(World):
        image = 0

        def logits(self, image: int, prefix: tuple[int, ...]) -> list[float]:
            assert image == 0
            return super().logits(self.image, prefix)

    together = Stepper(World(3, 5), images)
    beam_search(together, torch.full((images, 1), START), options, [1])
    alone = []
    for image in range(images):
        world = One(3, 5)
        world.image = image
        alone.append(Stepper(world, 1))
        beam_search(alone[-1], torch.full((1, 1), START), options, [1])
    assert len({len(one.rows) for one in alone}) > 1
    for at, rows in enumerate(together.rows):
        assert rows == sum(one.rows[at] for one in alone if at < len(one.rows))


def test_a_prompt_is_continued_and_not_counted() -> None:
    """Two tokens of prompt: the same as a world that starts after them."""

    class After(World):
        def logits(self, image: int, prefix: tuple[int, ...]) -> list[float]:
            return super().logits(image, (START, 3, *prefix[1:]))

    options = GenerationOptions(num_beams=4, num_captions=4, max_new_tokens=5)
    prompted = beam_search(Stepper(World(1, 6), 1), torch.tensor([[START, 3]]), options, [1])
    started = beam_search(Stepper(After(1, 6), 1), torch.tensor([[START]]), options, [1])
    torch.testing.assert_close(prompted.scores, started.scores)
    assert prompted.lengths.tolist() == started.lengths.tolist()
    assert prompted.tokens.tolist() == started.tokens.tolist()


def test_no_repeat_reaches_into_the_prompt() -> None:
    options = GenerationOptions(num_beams=2, max_new_tokens=4, no_repeat_ngram_size=1, num_captions=2)
    found = beam_search(Stepper(World(2, 8), 1), torch.tensor([[START, 3, 4]]), options, [1])
    for place in range(2):
        tokens = found.tokens[0, place, : found.lengths[0, place]].tolist()
        assert not set(tokens) & {START, 3, 4}
        assert len(set(tokens)) == len(tokens)
