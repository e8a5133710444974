import math
from pathlib import Path

import pytest
from pycocoevalcap.cider.cider_scorer import CiderScorer

from training.data.captions import CaptionSet
from training.evaluation.ptb import tokenise
from training.stages.rewards import END, CiderD, words
from training.stages.self_critical import reward_of

REFERENCES = [
    ["a dog runs in the snow", "the dog runs fast"],
    ["two men sit on a bench", "men sitting on benches"],
    ["a man and a dog on a bench", "a man sits on a bench near a brown dog"],
]
CANDIDATES = [
    [
        "a dog runs in the snow",
        "a dog",
        "a a a a a a",
        "snow",
        "zebra",
        "the dog runs in the deep white snow",
    ],
    ["two men on a bench", "two men two men two men two men sit", "bench"],
    ["a man and a man and a dog on a bench on a bench on a bench on a bench", "a dog near a dog"],
]


def split(captions: list[str]) -> list[list[str]]:
    return [caption.split() for caption in captions]


def test_scores_are_those_of_pycocoevalcap() -> None:
    reward = CiderD([split(group) for group in REFERENCES])
    for photo, group in enumerate(CANDIDATES):
        for candidate, score in zip(group, reward.scores(photo, split(group)), strict=True):
            scorer = CiderScorer(n=4, sigma=6.0)
            for index, references in enumerate(REFERENCES):
                scorer += (candidate if index == photo else "x", references)
            _, expected = scorer.compute_score()
            assert score == pytest.approx(expected[photo], abs=1e-9), candidate


def test_clipping_and_the_penalty_on_length_are_those_of_a_hand_calculation() -> None:
    """Two photos: log N = log 2; "a" is in both (weight 0), "dog", "a dog" and "cat", "a cat" in one each.

    candidate "dog dog dog dog" against "a dog": unigrams 4 log 2 against log 2, clipped to
    log 2, so their cosine is log 2 · log 2 / (4 log 2 · log 2) = 1/4; no shared bigram; two words too long.
    """
    reward = CiderD([[["a", "dog"]], [["a", "cat"]]])
    (score,) = reward.scores(0, [["dog"] * 4])
    assert score == pytest.approx(10 * math.exp(-(2**2) / (2 * 6**2)) * (1 / 4) / 4)
    (score,) = reward.scores(0, [["a", "dog"]])
    assert score == pytest.approx(10 * 2 / 4)  # unigrams and bigrams agree; there are no longer ones


def test_a_caption_that_breaks_off_earns_less() -> None:
    group = ("a dog runs in front of a house",)
    captions = CaptionSet(Path(), (1, 2), ("1", "2"), (group, ("Two men sit on a bench .",)))
    reward = reward_of(captions)
    whole, cut = reward.scores(0, [[*words(group[0]), END], words(group[0])])
    assert cut < 0.95 * whole


@pytest.mark.parametrize("candidate", [[], [END]])
def test_a_caption_without_words_earns_nothing_but_its_end(candidate: list[str]) -> None:
    reward = CiderD([[["a", "dog", END]], [["a", "cat", END]]])
    assert reward.scores(0, [candidate]).tolist() == [0.0]  # every caption ends: that weighs nothing


def test_words_are_those_of_the_ptb_tokenizer() -> None:
    captions = [
        "A dog in a T-shirt doesn't run .",
        "The man's \"black-and-white\" dog, 2 cats; they're wet!",
        "Two men (in red) sit - on a bench ...",
        "A boy's and girls' team wins 3.5 points",
    ]
    made = [words(caption) for caption in captions]
    truth = tokenise({0: captions})[0]
    for ours, theirs in zip(made, truth, strict=True):
        assert ours == [word for word in theirs.split() if word not in ("-lrb-", "-rrb-")]
