"""Pictures: where the heat lies, how large they are, and that odd photos do no harm."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from model.captioner import Caption
from model.explain.explanation import Explanation, Heatmap, Method
from model.explain.render import COLUMNS, LEAST_SIDE, OVERLAY_SIDES, grid, overlays
from model.words import Word

GREY = Image.new("RGB", (400, 200), (128, 128, 128))


def explanation(
    *maps: torch.Tensor, names: tuple[str, ...] = (), method: Method = "occlusion"
) -> Explanation:
    """An explanation of so many words with these maps, of patches that fill the photo."""
    named = names or tuple(f"word{number}" for number in range(len(maps)))
    words = tuple(Word(name, 0, len(name), range(1), -1.0) for name in named)
    rows, columns = maps[0].shape if maps else (4, 4)
    heatmaps = tuple(map(Heatmap, words, maps))
    return Explanation(
        Caption("", 0.0, ()), words, method, heatmaps, (rows, columns), (1 / rows, 1 / columns)
    )


def spot(row: int, column: int, value: float = 1.0, rows: int = 4, columns: int = 8) -> torch.Tensor:
    values = torch.zeros(rows, columns)
    values[row, column] = value
    return values


def pixels(png: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(png))
    assert (image.format, image.mode) == ("PNG", "RGB")
    return np.asarray(image).astype(int)


def test_heat_lies_where_the_map_has_it_and_nowhere_else() -> None:
    (png,) = overlays(GREY, explanation(spot(1, 6)))
    drawn = pixels(png)
    assert drawn.shape == (200, 400, 3)
    warmth = drawn[:, :, 0] - drawn[:, :, 2]
    assert np.unravel_index(warmth.argmax(), warmth.shape)[0] // 50 == 1
    assert np.unravel_index(warmth.argmax(), warmth.shape)[1] // 50 == 6
    assert warmth[75, 325] > 100
    assert (drawn[:, :212] == 128).all()


def test_evidence_against_a_word_is_not_drawn() -> None:
    (png,) = overlays(GREY, explanation(-spot(1, 6)))
    assert (pixels(png) == 128).all()


def test_a_word_that_hardly_depends_on_the_photo_is_faint() -> None:
    strong, weak, fair = overlays(GREY, explanation(spot(0, 0, 2.0), spot(0, 0, 0.02), spot(0, 0, 0.3)))
    warmth = [np.ptp(pixels(png), axis=2).max() for png in (strong, weak, fair)]
    assert warmth[0] > 100
    assert 0 < warmth[1] < 20 < warmth[2] < 60  # all against the highest


def test_a_colour_is_the_same_number_in_every_picture() -> None:
    one, other = overlays(GREY, explanation(spot(0, 0, 2.0), torch.full((4, 8), 1.0)))
    both = spot(0, 0, 2.0)
    both[2, 5] = 1.0
    (together,) = overlays(GREY, explanation(both))
    assert (pixels(together)[25, 25] == pixels(one)[25, 25]).all()
    near = np.abs(pixels(together)[125, 275] - pixels(other)[125, 275])
    assert near.max() <= 25  # a lone patch is smoothed down a little


def test_what_the_network_never_saw_has_no_heat() -> None:
    values = torch.ones(2, 2)
    found = explanation(values)
    (png,) = overlays(
        GREY, Explanation(found.caption, found.words, "occlusion", found.heatmaps, (2, 2), (0.5, 0.4))
    )
    drawn = pixels(png)
    assert (drawn[:, 320:] == 128).all()
    assert (drawn[:, :312] != 128).any(axis=2).all()


def test_the_photo_is_seen_below_the_heat() -> None:
    photo = Image.new("RGB", (320, 160), "white")
    photo.paste("black", (160, 0, 320, 160))
    (png,) = overlays(photo, explanation(torch.zeros(4, 8)))
    drawn = pixels(png)
    assert (drawn[:, :150] == 255).all()
    assert (drawn[:, 170:] == 0).all()


@pytest.mark.parametrize("size", [(1, 1), (3, 4000), (4000, 3), (17, 23), (3000, 2000)])
def test_pictures_are_as_large_as_the_photo_within_bounds(size: tuple[int, int]) -> None:
    photo = Image.new("RGB", size, (90, 120, 30))
    found = explanation(spot(0, 0), spot(3, 7))
    for png in overlays(photo, found):
        height, width, _ = pixels(png).shape
        assert max(height, width) == min(max(OVERLAY_SIDES[0], *size), OVERLAY_SIDES[1])
    height, width, _ = pixels(grid(photo, found)).shape
    assert max(height, width) < 800


def noise(seed: int = 0) -> Image.Image:
    """What compresses worst."""
    drawn = np.random.default_rng(seed).integers(0, 256, (600, 800, 3), dtype=np.uint8)
    return Image.fromarray(drawn)


@pytest.mark.parametrize("most", [1_000_000, 300_000, 60_000])
def test_all_overlays_together_keep_to_a_bound(most: int) -> None:
    found = explanation(*(spot(number % 4, number) for number in range(6)))
    drawn = overlays(noise(), found, most)
    assert most / 4 < sum(map(len, drawn)) <= most
    assert len({pixels(png).shape for png in drawn}) == 1


def test_the_same_photo_gets_the_same_overlays() -> None:
    found = explanation(spot(0, 0), spot(1, 1))
    assert overlays(noise(), found, 60_000) == overlays(noise(), found, 60_000)


@pytest.mark.parametrize("most", [500_000, 50_000])
def test_a_grid_keeps_to_a_bound(most: int) -> None:
    found = explanation(*(spot(number % 4, number) for number in range(8)))
    assert most / 4 < len(grid(noise(), found, most)) <= most


def test_pictures_that_fit_are_not_made_smaller() -> None:
    found = explanation(spot(0, 0))
    assert overlays(noise(), found, 10**7) == overlays(noise(), found)


def test_a_bound_that_nothing_fits_is_an_error() -> None:
    with pytest.raises(ValueError, match=f"100 bytes are too few for 2 picture.s. of {LEAST_SIDE} pixels"):
        overlays(noise(), explanation(spot(0, 0), spot(1, 1)), 100)


def test_a_grid_has_the_photo_and_every_word() -> None:
    photo = Image.new("RGB", (224, 224), (0, 0, 255))
    names = ("a", "dog", "Fußgänger", "犬", "w" * 200, "sixth")
    drawn = pixels(grid(photo, explanation(*(spot(0, 0) for _ in names), names=names)))
    blue = ((drawn[:, :, 2] - drawn[:, :, 0]) > 30).astype(int)
    runs = np.diff(blue[blue.shape[0] // 4], prepend=0)
    assert (runs == 1).sum() == COLUMNS
    assert 7 * 224 * 224 * 0.8 < blue.sum() <= 7 * 224 * 224
    below = drawn[-28:]  # labels of the last row are dark on white
    assert (below.sum(axis=2) < 200).any()


def test_a_grid_has_a_scale_from_grey_to_the_strongest_heat() -> None:
    drawn = pixels(grid(GREY, explanation(spot(0, 0), spot(1, 1))))[8]  # a line through the scale
    coloured = np.flatnonzero(np.ptp(drawn, axis=1) > 8)
    scale = drawn[coloured[0] : coloured[-1] + 1]
    lightness = scale @ [0.299, 0.587, 0.114]
    assert len(scale) > 40
    assert scale[-1][0] - scale[-1][2] > 100  # yellow at the end
    assert lightness[-1] > lightness[len(scale) // 2]


def test_a_caption_without_words_is_the_photo_alone() -> None:
    assert overlays(GREY, explanation()) == []
    assert pixels(grid(GREY, explanation())).shape[1] < 240
