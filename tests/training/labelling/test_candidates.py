"""Candidates and their consensus, against cosines by hand."""

import math

import pytest
import torch

from training.labelling.candidates import CaptionIndex, consensus

TEXT = ["a red dog", "a red ball", "a cat", "a small cat"]


def test_rare_words_weigh_more() -> None:
    index = CaptionIndex(TEXT)
    assert index.rarity("a") == 0
    assert index.rarity("red") == pytest.approx(math.log(2))
    assert index.rarity("dog") == pytest.approx(math.log(4))


def test_the_captions_whose_words_fit_come_first() -> None:
    """Of "a red dog", both words are likely; of "a red ball", one is; "small" is not in the vocabulary."""
    vocabulary = {"red": 0, "dog": 1, "ball": 2, "cat": 3}
    likely = torch.tensor([[0.9, 0.8, 0.0, 0.0], [0.0, 0.0, 0.0, 0.5]])
    cosines, places = CaptionIndex(TEXT).best(likely, vocabulary, 2)
    assert places.tolist() == [[0, 1], [2, 3]]
    one, two = math.log(2), math.log(4)  # weights of "red" and "cat", of "dog" and "small"
    wanted = [0.9 * one, 0.8 * two]
    red_dog = (wanted[0] * one + wanted[1] * two) / math.hypot(*wanted) / math.hypot(one, two)
    red_ball = wanted[0] * one / math.hypot(*wanted) / math.hypot(one, two)
    torch.testing.assert_close(
        cosines, torch.tensor([[red_dog, red_ball], [1.0, one / math.hypot(one, two)]])
    )


def test_the_caption_most_like_the_others_has_the_highest_consensus() -> None:
    """Words and pairs: "red dog" has red, dog, red dog; it shares two of three with "dog red"."""
    same = consensus(["red dog", "red dog"])
    torch.testing.assert_close(same, torch.ones(2))
    three = consensus(["red dog", "dog red", "cat"])
    torch.testing.assert_close(three, torch.tensor([(1 + 2 / 3) / 3, (1 + 2 / 3) / 3, 1 / 3]))


def test_no_more_candidates_than_captions() -> None:
    cosines, places = CaptionIndex(TEXT).best(torch.tensor([[1.0]]), {"cat": 0}, 60)
    assert cosines.shape == places.shape == (1, 4)
