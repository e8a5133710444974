"""Sampling: transformers' distribution, drawn from as it says."""

import itertools
import math
from typing import cast

import pytest
import torch
from torch import Tensor
from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from model.captioner import Caption, Captioner
from model.search.options import GenerationOptions
from model.search.sampling import draw, filtered, sample
from tests.tiny import photo

SAMPLE = GenerationOptions(do_sample=True, max_new_tokens=10, temperature=1.5)


def warped(logits: Tensor, options: GenerationOptions) -> Tensor:
    """What transformers' `generate` draws from, with its warpers in its order."""
    warpers = LogitsProcessorList()
    if options.temperature != 1:
        warpers.append(TemperatureLogitsWarper(options.temperature))
    if options.top_k:
        warpers.append(TopKLogitsWarper(options.top_k))
    if options.top_p < 1:
        warpers.append(TopPLogitsWarper(options.top_p))
    warped: Tensor = warpers(
        cast(torch.LongTensor, torch.zeros(len(logits), 1, dtype=torch.long)), cast(torch.FloatTensor, logits)
    )
    return warped.softmax(dim=-1)


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"),
    list(itertools.product([0.01, 0.7, 1.0, 3.0], [0, 1, 5, 50, 200], [0.01, 0.3, 0.9, 1.0])),
)
def test_the_distribution_is_that_of_transformers(temperature: float, top_k: int, top_p: float) -> None:
    options = GenerationOptions(do_sample=True, temperature=temperature, top_k=top_k, top_p=top_p)
    logits = torch.randn(20, 120, generator=torch.Generator().manual_seed(top_k)) * 3
    logits[:, 7] = -torch.inf  # ruled out by a constraint
    ours = filtered(logits, options)
    torch.testing.assert_close(ours, warped(logits, options), rtol=1e-5, atol=1e-6)
    assert (ours[:, 7] == 0).all()


def test_tokens_are_drawn_as_often_as_they_are_probable() -> None:
    """1 − 10⁻⁶ of all runs of χ² with 4 degrees of freedom are below 34."""
    probabilities = torch.tensor([0.4, 0.0, 0.3, 0.2, 0.07, 0.03])
    count = 20_000
    chances = torch.rand(count, generator=torch.Generator().manual_seed(0)).double()
    drawn = draw(probabilities.expand(count, -1), chances).bincount(minlength=6)
    assert drawn[1] == 0
    expected = probabilities[probabilities > 0] * count
    assert ((drawn[probabilities > 0] - expected) ** 2 / expected).sum() < 34


def test_the_ends_of_the_distribution_can_be_drawn_and_nothing_beyond() -> None:
    probabilities = torch.tensor([[0.0, 0.25, 0.75, 0.0]]).expand(3, -1)
    assert draw(probabilities, torch.tensor([0.0, 0.25, 1 - 2**-24]).double()).tolist() == [1, 2, 2]


def test_captions_are_drawn_as_often_as_they_are_probable() -> None:
    """Two steps over three tokens, the second depending on the first; token 0 ends."""
    first = torch.tensor([0.2, 0.5, 0.3])
    second = torch.tensor([[0.9, 0.0, 0.1], [0.6, 0.1, 0.3], [0.1, 0.2, 0.7]])

    def step(tokens: Tensor, _: Tensor | None) -> Tensor:
        return (first.expand(len(tokens), -1) if tokens.shape[1] == 2 else second[tokens[:, 0]]).log()

    count = 4000
    options = GenerationOptions(do_sample=True, num_captions=1, max_new_tokens=2, top_k=0, length_penalty=0)
    found = sample(step, torch.full((count, 2), 1), options, [0], seeds=range(count))
    seen = [
        tuple(tokens[:length])
        for tokens, length in zip(found.tokens[:, 0].tolist(), found.lengths[:, 0], strict=True)
    ]
    probable = {(0,): 0.2} | {(a, b): (first[a] * second[a, b]).item() for a in (1, 2) for b in range(3)}
    for caption, probability in probable.items():
        spread = 5 * math.sqrt(probability * (1 - probability) * count)
        assert abs(seen.count(caption) - probability * count) < spread
        at = seen.index(caption)
        assert found.scores[at, 0].exp().item() == pytest.approx(probability, rel=1e-5)


def test_the_score_is_the_sum_over_the_length_to_a_whole_power() -> None:
    def step(tokens: Tensor, _: Tensor | None) -> Tensor:
        return torch.tensor([0.25, 0.75]).log().expand(len(tokens), -1)

    for penalty in (-2, 0, 1, 2):  # as JSON and YAML have them
        options = GenerationOptions(do_sample=True, max_new_tokens=3, top_k=0, length_penalty=penalty)
        found = sample(step, torch.full((9, 2), 1), options, [0], seeds=range(9))
        expected = found.logprobs[:, 0].sum(dim=1) / torch.tensor(
            [n**penalty for n in found.lengths[:, 0].tolist()]
        )
        torch.testing.assert_close(found.scores[:, 0], expected)


@pytest.fixture(scope="module")
def photos(captioner: Captioner) -> list[Tensor]:
    return [captioner.preprocess(photo(seed)) for seed in range(12)]


def texts(found: list[tuple[Caption, ...]]) -> list[list[str]]:
    return [[caption.text for caption in captions] for captions in found]


def test_another_seed_gives_another_caption(captioner: Captioner, photos: list[Tensor]) -> None:
    same = [photos[0]] * 8
    seeded = [captioner.caption(same[:1], SAMPLE.replace(seed=seed))[0] for seed in range(8)]
    assert len({captions[0].text for captions in seeded}) > 4
    unseeded = [captions[0].text for captions in captioner.caption(same, SAMPLE)]
    assert len(set(unseeded)) > 4


def test_one_likeliest_token_is_greedy_search(captioner: Captioner, photos: list[Tensor]) -> None:
    constraints = {"no_repeat_ngram_size": 2, "repetition_penalty": 1.3, "min_new_tokens": 4}
    greedy = GenerationOptions(max_new_tokens=10).replace(**constraints)
    drawn = captioner.caption(photos, SAMPLE.replace(top_k=1, seed=3, **constraints))
    searched = captioner.caption(photos, greedy)
    assert texts(drawn) == texts(searched)
    for (one,), (other,) in zip(drawn, searched, strict=True):
        assert one.score == pytest.approx(other.score, rel=1e-5)


def test_samples_are_many_and_ordered(captioner: Captioner, photos: list[Tensor]) -> None:
    for captions in captioner.caption(photos[:3], SAMPLE.replace(num_captions=16, seed=1)):
        scores = [caption.score for caption in captions]
        assert len(captions) == 16
        assert scores == sorted(scores, reverse=True)
        assert len({len(caption.tokens) for caption in captions}) > 1
        for caption in captions:
            total = sum(token.logprob for token in caption.tokens)
            assert caption.score == pytest.approx(total / len(caption.tokens), rel=1e-5)


def test_samples_begin_with_the_prompt(captioner: Captioner, photos: list[Tensor]) -> None:
    found = captioner.caption(photos[:2], SAMPLE.replace(num_captions=2), prompt="a dog")
    assert all(caption.text.startswith("a dog") for captions in found for caption in captions)
