"""Occlusion against its definition, window by window, on a network with a known answer."""

from itertools import product

import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from model.explain.bounds import ExplainBounds
from model.explain.occlusion import Windows, occlusion, windows_for
from tests.model.explain.spot import PATCH, SpotModel, brightness, spot_target

BOUNDS = ExplainBounds(batch=4)


def starts(windows: Windows, patches: int) -> list[int]:
    """Where windows begin along a side: as far outside of it as they end behind it, or less."""
    overhang = windows.size - windows.stride
    found = [-overhang]
    while found[-1] + windows.size < patches + overhang:
        found.append(found[-1] + windows.stride)
    return found


def by_hand(photo: Tensor, patch: tuple[int, int], down: Windows, across: Windows) -> Tensor:
    """The mean fall over the windows that cover a patch, with plain loops."""
    rows, columns = photo.shape[1] // PATCH, photo.shape[2] // PATCH
    falls: dict[tuple[int, int], list[float]] = {}
    before = logsigmoid(brightness(photo[None], patch)).item()
    for first, begin in product(starts(down, rows), starts(across, columns)):
        covered = photo.clone()
        bottom, right = min(first + down.size, rows), min(begin + across.size, columns)
        top, left = max(first, 0), max(begin, 0)
        covered[:, top * PATCH : bottom * PATCH, left * PATCH : right * PATCH] = 0
        fall = before - logsigmoid(brightness(covered[None], patch)).item()
        for cell in product(range(top, bottom), range(left, right)):
            falls.setdefault(cell, []).append(fall)
    cells = [[falls[row, column] for column in range(columns)] for row in range(rows)]
    return torch.tensor([[sum(cell) / len(cell) for cell in row] for row in cells])


def test_each_word_has_the_map_that_its_definition_gives() -> None:
    model = SpotModel([(1, 5), (6, 0), (3, 3)])
    photo = torch.rand(3, 7 * PATCH, 9 * PATCH, generator=torch.manual_seed(0)) / 10
    found = occlusion(spot_target(model), photo, BOUNDS)
    assert found.shape == (3, 7, 9)
    for map_, patch in zip(found, model.patches, strict=True):
        expected = by_hand(photo, patch, Windows(3, 1), Windows(3, 1))
        torch.testing.assert_close(map_, expected, rtol=1e-4, atol=1e-5)
        row, column = divmod(int(map_.argmax()), 9)
        assert (row, column) == patch  # in the corner, too
    assert model.seen == 1 + 9 * 11  # one sweep for all words


def test_a_patch_that_speaks_against_a_word_is_negative() -> None:
    photo = torch.full((3, 6 * PATCH, 6 * PATCH), -0.1)
    (found,) = occlusion(spot_target(SpotModel([(2, 2)])), photo, BOUNDS)
    assert found.min() == found[2, 2] < -1
    assert found.max() == pytest.approx(0, abs=1e-5)


def test_windows_of_known_sizes() -> None:
    assert Windows.along(7) == Windows(3, 1)  # 224 / 32
    assert Windows.along(8) == Windows(3, 1)
    assert Windows.along(12) == Windows(4, 2)  # 192 / 16: 64 pixels, 32 apart
    assert Windows.along(14) == Windows(4, 2)  # 224 / 16: the same
    assert Windows.along(24) == Windows(7, 3)  # 384 / 16
    assert Windows.along(4) == Windows(2, 1)
    assert Windows.along(1) == Windows(1, 1)
    assert [Windows.along(patches).count(patches) for patches in (1, 4, 7, 14, 24)] == [1, 5, 9, 8, 10]
    assert windows_for(14, 14, 64) == (Windows(4, 2), Windows(4, 2))
    assert windows_for(14, 14, 63) == (Windows(4, 3), Windows(4, 3))
    assert windows_for(1, 30, 9) == (Windows(1, 1), Windows(9, 4))


def test_windows_keep_to_the_bound_and_leave_no_patch_out() -> None:
    for rows, columns, most in product(range(1, 26), (1, 2, 7, 25, 60), (1, 19, 30, 511)):
        down, across = windows_for(rows, columns, most)
        assert down.count(rows) * across.count(columns) <= most
        for windows, patches in ((down, rows), (across, columns)):
            assert 1 <= windows.stride <= windows.size <= patches
            assert windows.count(patches) == len(starts(windows, patches))
            assert starts(windows, patches)[-1] + windows.size >= patches


@pytest.mark.parametrize("most", [64, 20])  # 64 windows and the photo itself are one too many
def test_a_lower_bound_makes_fewer_passes(most: int) -> None:
    model = SpotModel([(10, 3)])
    photo = torch.rand(3, 14 * PATCH, 14 * PATCH, generator=torch.manual_seed(1)) / 10
    (found,) = occlusion(spot_target(model), photo, ExplainBounds(max_passes=most))
    assert model.seen <= most
    expected = by_hand(photo, (10, 3), *windows_for(14, 14, most - 1))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
