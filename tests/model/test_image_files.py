"""Every photo format is decoded upright, and only its first frame."""

import io
import struct
import warnings

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageChops, features

from model.image import FORMATS, decode

Pixels = NDArray[np.uint8]


def colours(rows: int = 2, columns: int = 3, block: int = 16, seed: int = 0) -> Pixels:
    """Blocks of random colour, big enough to survive JPEG; no two rows or columns are alike."""
    small = np.random.default_rng(seed).integers(40, 215, (rows, columns, 3), dtype=np.uint8)
    return small.repeat(block, axis=0).repeat(block, axis=1)


def encode(image: Image.Image, encoding: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, encoding, **options)
    return stream.getvalue()


def difference(decoded: Image.Image, expected: Pixels, *, block: int = 1) -> int:
    """The largest difference of a value at the middle of each block, where no format blurs it."""
    assert decoded.mode == "RGB"
    assert decoded.size == (expected.shape[1], expected.shape[0])
    every = abs(np.asarray(decoded).astype(int) - expected)
    return int(every[block // 2 :: block, block // 2 :: block].max())


@pytest.mark.parametrize(
    ("encoding", "options", "within"),
    [
        ("JPEG", {"quality": 95, "subsampling": 0}, 4),
        ("JPEG", {"quality": 95, "subsampling": 0, "progressive": True}, 4),
        ("MPO", {"quality": 95, "subsampling": 0}, 4),
        ("PNG", {}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("WEBP", {"quality": 95}, 8),
        ("AVIF", {"quality": 95, "subsampling": "4:4:4"}, 8),
        ("GIF", {}, 0),
        ("TIFF", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("TIFF", {"compression": "tiff_adobe_deflate"}, 0),
        ("TIFF", {"compression": "jpeg", "quality": 95}, 8),
        ("BMP", {}, 0),
    ],
)
def test_a_format_is_decoded(encoding: str, options: dict[str, object], within: int) -> None:
    if encoding == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    data = encode(Image.fromarray(colours()), encoding, **options)
    assert difference(decode(data), colours(), block=16 if within else 1) <= within


def test_the_formats_above_are_all_there_are() -> None:
    assert set(FORMATS) | {"AVIF"} == {"JPEG", "PNG", "WEBP", "AVIF", "GIF", "TIFF", "BMP"}


UPRIGHT = {  # EXIF 2.32, tag 0x0112: what the first row and the first column of the file show
    1: lambda stored: stored,  # top, left
    2: lambda stored: stored[:, ::-1],  # top, right
    3: lambda stored: stored[::-1, ::-1],  # bottom, right
    4: lambda stored: stored[::-1],  # bottom, left
    5: lambda stored: stored.swapaxes(0, 1),  # left, top
    6: lambda stored: stored.swapaxes(0, 1)[:, ::-1],  # right, top: a quarter turn clockwise
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),  # right, bottom
    8: lambda stored: stored.swapaxes(0, 1)[::-1],  # left, bottom: a quarter turn the other way
}


@pytest.mark.parametrize(
    ("encoding", "options", "within"),
    [
        ("JPEG", {"quality": 95, "subsampling": 0}, 4),
        ("PNG", {}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("TIFF", {}, 0),
    ],
)
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_a_photo_stands_upright(
    orientation: int, encoding: str, options: dict[str, object], within: int
) -> None:
    stored = colours()
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(Image.fromarray(stored), encoding, exif=exif, **options)
    assert difference(decode(data), UPRIGHT[orientation](stored), block=16 if within else 1) <= within


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_unknown_orientation_turns_nothing(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert difference(decode(encode(Image.fromarray(colours()), "PNG", exif=exif)), colours()) == 0


@pytest.mark.parametrize(
    ("encoding", "options", "within"), [("JPEG", {"quality": 95, "subsampling": 0}, 4), ("PNG", {}, 0)]
)
@pytest.mark.parametrize("exif", [b"Exif\0\0MM", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0" + bytes(40)])
def test_broken_exif_data_leaves_the_photo_as_it_is(
    exif: bytes, encoding: str, options: dict[str, object], within: int
) -> None:
    data = encode(Image.fromarray(colours()), encoding, exif=exif, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow may warn of it
        assert difference(decode(data), colours(), block=16 if within else 1) <= within


@pytest.mark.parametrize(
    ("encoding", "options"), [("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {}), ("TIFF", {})]
)
def test_an_animation_is_its_first_frame(encoding: str, options: dict[str, object]) -> None:
    first, second = (Image.fromarray(colours(seed=seed)) for seed in (1, 2))
    assert ImageChops.difference(first, second).getbbox() is not None
    data = encode(first, encoding, save_all=True, append_images=[second], **options)
    with Image.open(io.BytesIO(data)) as opened:
        assert opened.n_frames == 2  # type: ignore[attr-defined]
    assert difference(decode(data), colours(seed=1)) == 0


def test_a_transparent_gif_lies_over_white() -> None:
    image = Image.new("P", (2, 1), 1)
    image.putpalette([200, 50, 0, 10, 20, 30])
    image.putpixel((0, 0), 0)
    decoded = decode(encode(image, "GIF", transparency=0))
    assert np.asarray(decoded).tolist() == [[[255, 255, 255], [10, 20, 30]]]


@pytest.mark.parametrize(("encoding", "options"), [("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})])
def test_half_transparent_pixels_mix_with_white(encoding: str, options: dict[str, object]) -> None:
    image = Image.new("RGBA", (4, 4), (200, 50, 0, 51))  # a fifth of the colour, four fifths of white
    decoded = decode(encode(image, encoding, exact=True, **options))
    assert abs(np.asarray(decoded).astype(int) - (244, 214, 204)).max() <= 1


def test_a_premultiplied_tiff_is_not_multiplied_again() -> None:
    """TIFF 6.0, section 18: ExtraSamples 1 is associated (premultiplied) alpha, 2 is not."""
    data = encode(Image.new("LA", (2, 2), (50, 128)), "TIFF")
    unassociated = struct.pack("<HHII", 338, 3, 1, 2)
    assert data.count(unassociated) == 1
    decoded = decode(data.replace(unassociated, struct.pack("<HHII", 338, 3, 1, 1)))
    assert decoded.getpixel((0, 0)) == pytest.approx((50 + 127,) * 3, abs=1)


def test_a_cmyk_jpeg_keeps_its_colours() -> None:
    """Adobe's writers, and Pillow, store the inks inverted: a negative would be noticed here."""
    image = Image.new("CMYK", (32, 32), (0, 255, 255, 0))
    image.paste((255, 0, 0, 51), (16, 0, 32, 32))
    pixels = np.asarray(decode(encode(image, "JPEG", quality=95, subsampling=0))).astype(int)
    assert abs(pixels[:, :12] - (255, 0, 0)).max() <= 6
    assert abs(pixels[:, 20:] - (0, 204, 204)).max() <= 6


@pytest.mark.parametrize(
    ("mode", "encoding"),
    [("I;16", "PNG"), ("I;16", "TIFF"), ("I;16B", "TIFF"), ("I", "TIFF")],
)
def test_sixteen_bits_become_eight(mode: str, encoding: str) -> None:
    values = np.array([[0, 257, 100 * 257, 65535]])
    raw = values.astype({"I;16": "<u2", "I;16B": ">u2", "I": "<i4"}[mode])
    data = encode(Image.frombytes(mode, (4, 1), raw.tobytes()), encoding)
    assert np.asarray(decode(data))[0].tolist() == [[grey] * 3 for grey in (0, 1, 100, 255)]


def test_sixteen_bit_transparency_lies_over_white() -> None:
    image = Image.frombytes("I;16", (2, 1), np.array([1000, 25700], dtype="<u2").tobytes())
    decoded = decode(encode(image, "PNG", transparency=1000))
    assert np.asarray(decoded)[0].tolist() == [[255, 255, 255], [100, 100, 100]]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "F"])
def test_a_mode_comes_through_a_file(mode: str) -> None:
    """Black and white survive every mode; the values between are checked mode by mode elsewhere."""
    grey = Image.fromarray(np.array([[0, 255], [255, 0]], dtype=np.uint8)).convert("RGB")
    if mode == "PA":
        source = grey.convert("P").convert("PA")
    elif mode == "F":
        source = grey.convert("L").convert("F")
    else:
        source = grey.convert(mode)
    data = encode(source, "TIFF")
    with Image.open(io.BytesIO(data)) as opened:
        assert opened.mode == mode
    assert difference(decode(data), np.asarray(grey)) <= 1
