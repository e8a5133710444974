"""What is no photo, or too large a one, is refused with the right error and before it costs much."""

import io
import random
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from model.errors import ImageError, ImageTooLarge, NotAnImage
from model.image import FORMATS, MAX_PIXELS, decode


def encode(image: Image.Image, encoding: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, encoding, **options)
    return stream.getvalue()


def noise(width: int = 40, height: int = 50) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def png_header(width: int, height: int) -> bytes:
    """A PNG that says how large it is; its few compressed bytes would decode to black rows."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            chunk(b"IDAT", zlib.compress(bytes(1000))),
            chunk(b"IEND", b""),
        ]
    )


JPEG, PNG = encode(noise(), "JPEG"), encode(noise(), "PNG")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"just some text, no photo",
        b'{"image": "dog.jpg"}',
        "Grüße".encode("utf-16"),
        b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xe0",
        b"GIF89a",
        b"RIFF\x10\0\0\0WEBPVP8 ",
        b"BM" + bytes(60),
        b"II*\0\x08\0\0\0\0\0",
    ],
    ids=lambda data: repr(data[:12]),
)
def test_what_is_no_photo_is_refused(data: bytes) -> None:
    with pytest.raises(NotAnImage):
        decode(data)


@pytest.mark.parametrize("data", [JPEG, PNG], ids=["JPEG", "PNG"])
@pytest.mark.parametrize("kept", [0.02, 0.1, 0.5, 0.9])
def test_a_truncated_photo_is_refused(data: bytes, kept: float) -> None:
    with pytest.raises(NotAnImage):
        decode(data[: int(len(data) * kept)])


@pytest.mark.parametrize(
    "encoding", ["EPS", "PDF", "PPM", "ICO", "ICNS", "TGA", "PCX", "SGI", "JPEG2000", "DDS", "QOI"]
)
def test_formats_that_are_not_for_photos_are_refused(encoding: str) -> None:
    size = (32, 32) if encoding in {"ICO", "ICNS"} else (40, 50)
    with pytest.raises(NotAnImage):
        decode(encode(noise(*size), encoding))


def test_the_message_says_which_formats_are_known() -> None:
    with pytest.raises(NotAnImage, match=r"JPEG.*PNG"):
        decode(b"text")


@pytest.fixture
def decoded_photos(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Fills with every image whose pixels Pillow starts to decode."""
    started: list[object] = []

    def watch(opener: type[ImageFile.ImageFile]) -> None:
        original = opener.load

        def load(self: ImageFile.ImageFile) -> object:
            started.append(self)
            return original(self)

        monkeypatch.setattr(opener, "load", load)

    watch(ImageFile.ImageFile)  # type: ignore[type-abstract]
    for opener in ImageFile.ImageFile.__subclasses__():
        if "load" in vars(opener):
            watch(opener)
    return started


@pytest.mark.parametrize("action", ["error", "ignore", "always"])
@pytest.mark.parametrize(
    "size",
    [
        (10_000, 5_001),  # just above the bound
        (8_000, 7_500),  # 60 megapixels: Pillow alone would say nothing
        (9_000, 9_900),  # 89 megapixels, its last silent ones
        (11_000, 11_000),  # it would warn
        (20_000, 20_000),  # it would raise
        (2**31 - 1, 2**31 - 1),
    ],
)
def test_a_decompression_bomb_is_not_decoded(
    size: tuple[int, int], action: str, decoded_photos: list[object]
) -> None:
    with warnings.catch_warnings(record=action == "always"):
        warnings.simplefilter(action)  # type: ignore[arg-type]
        with pytest.raises(ImageTooLarge, match=str(MAX_PIXELS)):
            decode(png_header(*size))
    assert decoded_photos == []


@pytest.mark.parametrize("encoding", FORMATS)
def test_the_bound_holds_for_every_format(encoding: str, decoded_photos: list[object]) -> None:
    data = encode(noise(40, 50), encoding)
    with pytest.raises(ImageTooLarge, match=r"40 × 50 pixels; at most 1999"):
        decode(data, max_pixels=1999)
    assert decoded_photos == []
    assert decode(data, max_pixels=2000).size == (40, 50)
    assert decoded_photos


@pytest.mark.parametrize("encoding", FORMATS)
def test_damaged_photos_raise_nothing_unexpected(encoding: str) -> None:
    """Bytes changed, cut out and cut off at random: a photo comes out or an ImageError."""
    draw = random.Random(encoding)
    original = encode(noise(24, 20), encoding)
    refused = 0
    for _ in range(60):
        data = bytearray(original)
        for _ in range(draw.choice([1, 3, 10])):
            data[int(len(data) * draw.random() ** 3)] = draw.randrange(256)  # the header most of all
        if draw.random() < 0.3:
            start = draw.randrange(len(data))
            del data[start : start + draw.randrange(40)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of damage that it can read around
            try:
                assert decode(bytes(data), max_pixels=100_000).mode == "RGB"
            except ImageError:
                refused += 1
    assert refused
