"""The measure of heatmaps: scores worked out by hand, scenes that are what their captions say."""

import random

import numpy as np
import pytest
import torch

from bench.heatmaps.compare import RANDOM, accuracy, compare, drawn_scenes
from bench.heatmaps.learner import examples, untrained
from bench.heatmaps.scores import deletion_insertion, points_at, rank_correlation
from bench.heatmaps.shapes import COLOURS, SIDE, draw_scene
from model.explain.explanation import MEANINGS
from model.image import to_tensor
from tests.model.explain.spot import PATCH, SpotModel, spot_target


def test_the_words_of_a_scene_name_what_is_in_their_boxes() -> None:
    chance = random.Random(0)
    for scene in [draw_scene(chance) for _ in range(40)]:
        words = scene.caption.split()
        pixels = np.asarray(scene.picture).astype(int)
        assert pixels.shape == (SIDE, SIDE, 3)
        seen = np.zeros((SIDE, SIDE), dtype=bool)
        for word, (left, top, right, bottom) in scene.boxes.items():
            inside = np.zeros_like(seen)
            inside[top:bottom, left:right] = True
            if words[word] in COLOURS:
                same = (pixels == COLOURS[words[word]]).all(axis=2)
                assert (same & inside).sum() > 0.2 * inside.sum()
                seen |= inside
            else:
                assert scene.boxes[word - 1] == (left, top, right, bottom)
        for colour in COLOURS.values():
            assert not ((pixels == colour).all(axis=2) & ~seen).any()
        if len(scene.boxes) == 4:
            assert words[3] == "above"
            assert scene.boxes[1][3] < scene.boxes[5][1]


def test_the_hottest_patch_points_where_its_middle_is() -> None:
    heat = torch.zeros(4, 4)
    heat[1, 2] = 1  # its middle: x = 25, y = 15
    assert points_at(heat, (25, 15, 26, 16), 10)
    assert not points_at(heat, (26, 15, 40, 40), 10)
    assert not points_at(heat, (0, 0, 25, 40), 10)
    assert not points_at(heat, (0, 0, 40, 15), 10)


def test_areas_of_a_word_that_one_patch_decides() -> None:
    target = spot_target(SpotModel([(1, 1)]))
    photo = torch.ones(3, 4 * PATCH, 4 * PATCH)  # a probability of 1 with the patch, 1/2 without
    heat = torch.zeros(4, 4)
    heat[1, 1] = 1
    deleted, inserted = deletion_insertion(target, 0, photo, heat)
    # four of sixteen patches a step: 1, then 1/2 four times; and the other way round
    assert deleted == pytest.approx((0.75 + 3 * 0.5) / 4)
    assert inserted == pytest.approx((0.75 + 3 * 1) / 4)
    deleted, inserted = deletion_insertion(target, 0, photo, -heat)  # the patch comes last
    assert deleted == pytest.approx((0.75 + 3 * 1) / 4)
    assert inserted == pytest.approx((0.75 + 3 * 0.5) / 4)


def test_rank_correlation_by_hand() -> None:
    one = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert rank_correlation(one, one.exp()) == pytest.approx(1)
    assert rank_correlation(one, -one) == pytest.approx(-1)
    # ranks 1 0 2 3 and 2 0 1 3: 1 - 6 · 2 / (4 · 15)
    other, third = torch.tensor([[2.0, 1.0], [3.0, 9.0]]), torch.tensor([[3.0, 1.0], [2.0, 4.0]])
    assert rank_correlation(other, third) == pytest.approx(0.8)
    assert rank_correlation(one, torch.ones(2, 2)) == 0


def test_every_method_is_scored_on_every_word_with_a_box() -> None:
    captioner, scenes = untrained(0), drawn_scenes(1, 1)
    scores = compare(captioner, untrained(0), scenes)
    assert list(scores) == [RANDOM, *MEANINGS]
    for name, found in scores.items():
        assert found.words == 4
        assert 0 <= found.deletion < 0.5
        assert 0 <= found.insertion < 0.5
        if name != RANDOM:  # "randomised" to the same weights
            assert found.agreement == pytest.approx(1)
    assert accuracy(captioner, scenes) == 0


def test_what_is_learnt_is_the_caption_and_its_end() -> None:
    captioner = untrained(0)
    pixels, tokens, known = examples(captioner, 64, random.Random(3))
    chance = random.Random(3)
    for row in range(len(tokens)):
        scene = draw_scene(chance)
        torch.testing.assert_close(pixels[row], to_tensor(scene.picture, captioner.image_config))
        counted = tokens[row, 1:][known[row]].tolist()
        assert captioner.tokenizer.decode(counted) == scene.caption
        assert counted[-1] == 0
        assert tokens[row, 0] == 0
