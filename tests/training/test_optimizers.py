"""The learning rate over a run, against values worked out by hand."""

import math

import pytest

from training.optimizers import warmup_cosine


def test_the_rate_rises_in_a_line_and_falls_as_half_a_cosine() -> None:
    factors = [warmup_cosine(step, 10, 2) for step in range(10)]
    assert factors[:3] == [0.5, 1, 1]
    assert factors[6] == pytest.approx(0.5)  # half way down: four of eight steps
    assert factors[8] == pytest.approx((1 - math.sqrt(0.5)) / 2)  # six of eight: cos 135°
    assert factors[2:] == sorted(factors[2:], reverse=True)
