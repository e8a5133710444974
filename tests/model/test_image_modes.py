"""Every Pillow mode becomes the RGB that its definition says, computed here by hand."""

import colorsys
import io
import math
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from model.image import decode, to_rgb

RGB = tuple[int, int, int]
Pixel = float | tuple[int, ...]


def over_white(red: int, green: int, blue: int, alpha: int) -> RGB:
    def blend(value: int) -> int:
        return round((value * alpha + 255 * (255 - alpha)) / 255)

    return blend(red), blend(green), blend(blue)


def cmyk(cyan: int, magenta: int, yellow: int, black: int) -> RGB:
    def light(ink: int) -> int:
        return round((255 - ink) * (255 - black) / 255)

    return light(cyan), light(magenta), light(yellow)


def jfif(luma: int, blue: int, red: int) -> RGB:
    """JFIF 1.02, page 4: YCbCr of full range."""

    def clip(value: float) -> int:
        return min(255, max(0, round(value)))

    return (
        clip(luma + 1.402 * (red - 128)),
        clip(luma - 0.344136 * (blue - 128) - 0.714136 * (red - 128)),
        clip(luma + 1.772 * (blue - 128)),
    )


def hsv(hue: int, saturation: int, value: int) -> RGB:
    red, green, blue = colorsys.hsv_to_rgb(hue / 255, saturation / 255, value / 255)
    return round(red * 255), round(green * 255), round(blue * 255)


@dataclass(frozen=True)
class Case:
    mode: str
    pixel: Pixel
    expected: RGB
    within: int = 0


CASES = [
    Case("1", 0, (0, 0, 0)),
    Case("1", 255, (255, 255, 255)),
    Case("L", 100, (100, 100, 100)),
    Case("LA", (100, 255), (100, 100, 100)),
    Case("LA", (100, 0), (255, 255, 255)),
    Case("LA", (100, 128), over_white(100, 100, 100, 128), within=1),
    Case("La", (50, 128), over_white(100, 100, 100, 128), within=1),  # premultiplied: 100 · 128 / 255
    Case("P", 2, (70, 80, 90)),
    Case("PA", (2, 255), (70, 80, 90)),
    Case("PA", (2, 51), over_white(70, 80, 90, 51), within=1),
    Case("RGB", (1, 120, 250), (1, 120, 250)),
    Case("RGBA", (200, 50, 0, 255), (200, 50, 0)),
    Case("RGBA", (200, 50, 0, 0), (255, 255, 255)),
    Case("RGBA", (200, 50, 0, 51), over_white(200, 50, 0, 51), within=1),
    Case("RGBa", (40, 10, 0, 51), over_white(200, 50, 0, 51), within=1),  # premultiplied by 51 / 255
    Case("RGBX", (1, 120, 250, 7), (1, 120, 250)),
    Case("CMYK", (0, 255, 255, 0), (255, 0, 0)),
    Case("CMYK", (51, 0, 255, 127), cmyk(51, 0, 255, 127), within=1),
    Case("CMYK", (0, 0, 0, 255), (0, 0, 0)),
    Case("YCbCr", (120, 128, 128), (120, 120, 120)),
    Case("YCbCr", (76, 85, 255), jfif(76, 85, 255), within=1),
    Case("YCbCr", (90, 200, 60), jfif(90, 200, 60), within=1),
    Case("LAB", (255, 0, 0), (255, 255, 255), within=1),
    Case("LAB", (136, 0, 0), (127, 127, 127), within=2),  # L* 53.3, the lightness of sRGB's middle
    Case("LAB", (138, 81, 70), (255, 0, 0), within=6),  # sRGB's red under D50: L* 54.3, a* 80.8, b* 69.9
    Case("HSV", (0, 0, 77), (77, 77, 77)),
    Case("HSV", (85, 255, 200), hsv(85, 255, 200), within=1),
    Case("HSV", (30, 100, 220), hsv(30, 100, 220), within=2),
    *(
        Case(mode, value, (grey, grey, grey))
        for mode in ("I", "I;16", "I;16L", "I;16B", "I;16N")
        for value, grey in (
            (0, 0),
            (100 * 257, 100),
            (200 * 257 + 128, 200),
            (200 * 257 + 129, 201),
            (65535, 255),
        )
    ),
    Case("F", 3.5, (0, 0, 0)),  # a flat picture: no brightest and darkest to stretch between
]


def image_of(case: Case) -> Image.Image:
    if case.mode == "P":
        image = Image.new("P", (3, 2))
        image.putpalette([0, 0, 0, 10, 20, 30, 70, 80, 90])
        image.paste(case.pixel, (0, 0, 3, 2))
        return image
    if case.mode == "PA":
        assert isinstance(case.pixel, tuple)
        palette = image_of(Case("P", case.pixel[0], case.expected))
        image = palette.convert("PA")
        image.putalpha(case.pixel[1])
        assert image.mode == "PA"
        return image
    raw = {"I;16": "<u2", "I;16L": "<u2", "I;16B": ">u2", "I;16N": "=u2"}.get(case.mode)
    if raw is not None:
        return Image.frombytes(case.mode, (3, 2), np.full((2, 3), case.pixel, dtype=raw).tobytes())
    if case.mode in {"RGBX", "La", "RGBa", "LAB"}:  # no colours by value here: bytes are clearer
        assert isinstance(case.pixel, tuple)
        # Pillow keeps both bytes of La in a four-byte pixel, and unpacks them from two.
        return Image.frombytes(case.mode, (3, 2), bytes(case.pixel) * 6)
    return Image.new(case.mode, (3, 2), case.pixel)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.mode} {case.pixel}")
def test_a_mode_becomes_rgb(case: Case) -> None:
    rgb = to_rgb(image_of(case))
    assert (rgb.mode, rgb.size) == ("RGB", (3, 2))
    difference = np.asarray(rgb).astype(int) - np.array(case.expected)
    assert abs(difference).max() <= case.within, rgb.getpixel((0, 0))


def test_no_mode_is_left_out() -> None:
    assert {case.mode for case in CASES} == set(Image.MODES)


def grey_of(values: list[float], mode: str) -> list[int]:
    array = np.array([values], dtype={"F": np.float32, "I": np.int32}[mode])
    red = np.asarray(to_rgb(Image.fromarray(array)))[0, :, 0]
    return [int(value) for value in red]


@pytest.mark.parametrize(
    ("mode", "values", "grey"),
    [
        ("F", [0.0, 1.0, 2.0, 4.0], [0, 64, 128, 255]),
        ("F", [-1.0, 0.0, 1.0], [0, 128, 255]),
        ("F", [0.0, 255.0], [0, 255]),
        ("F", [0.0, math.nan, 2.0], [0, 0, 255]),
        ("F", [0.0, math.inf, 2.0], [0, 0, 255]),
        ("F", [-math.inf, -1.0, -2.0], [255, 128, 0]),
        ("I", [0, 65536], [0, 255]),
        ("I", [-100, 0, 100], [0, 128, 255]),
        ("I", [0, 257, 514], [0, 1, 2]),
    ],
)
def test_wide_ranges_are_stretched(mode: str, values: list[float], grey: list[int]) -> None:
    assert grey_of(values, mode) == pytest.approx(grey, abs=1)


def png(image: Image.Image, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG", **options)
    return stream.getvalue()


def palette_image() -> Image.Image:
    image = Image.new("P", (2, 1))
    image.putpalette([200, 50, 0, 10, 20, 30])
    image.putpixel((1, 0), 1)
    return image


@pytest.mark.parametrize(
    ("image", "transparency", "expected"),
    [
        (palette_image(), 0, [(255, 255, 255), (10, 20, 30)]),
        (palette_image(), bytes([51, 255]), [over_white(200, 50, 0, 51), (10, 20, 30)]),
        (Image.new("L", (1, 1), 9), 9, [(255, 255, 255)]),
        (Image.new("L", (1, 1), 8), 9, [(8, 8, 8)]),
        (Image.new("RGB", (1, 1), (1, 2, 3)), (1, 2, 3), [(255, 255, 255)]),
        (Image.new("RGB", (1, 1), (1, 2, 4)), (1, 2, 3), [(1, 2, 4)]),
    ],
)
def test_transparency_outside_the_pixels_lies_over_white(
    image: Image.Image, transparency: object, expected: list[RGB]
) -> None:
    decoded = decode(png(image, transparency=transparency))
    np.testing.assert_allclose(np.asarray(decoded)[0], expected, atol=1)
