"""Small valid files to start from: every format that is decoded, in every mode that it can hold."""

import io
import re
from collections.abc import Mapping, Sequence
from functools import cache
from random import Random

from PIL import Image

SIZE = (48, 40)
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF")
OTHERS = ("ICO", "PPM", "JPEG2000", "PDF", "EPS", "TGA", "PCX", "DDS", "SGI", "QOI", "ICNS", "MPO")
"""Formats that Pillow writes and the server does not decode (an MPO begins as a JPEG does)."""
MODES = (
    *("1", "L", "P", "PA", "LA", "La", "RGB", "RGBA", "RGBa", "RGBX"),
    *("CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16", "I;16L", "I;16B", "I;16N"),
)

ANIMATED = {"save_all": True, "frames": 3}  # `frames` becomes append_images
EXIF = {"exif": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"}  # turned by 90°
BAD_EXIF = {"exif": b"Exif\0\0MM\0*\xff\xff\xff\xff\0\x01\x01\x12\0\x09\x7f\xff\xff\xff"}
BAD_PROFILE = {"icc_profile": b"\0\0\0\xffacsp" * 20}
TIFF_COMPRESSIONS = ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "group3", "group4", "zstd", "lzma")
ONLY = {"group3": {"1"}, "group4": {"1"}, "jpeg": {"L", "LA", "RGB", "RGBA", "CMYK", "YCbCr"}}
"""Modes that such a compression takes; libtiff says so on stderr where it is asked for others."""

WAYS: Mapping[str, Sequence[Mapping[str, object]]] = {
    "JPEG": [{}, {"progressive": True}, {"quality": 100, "subsampling": 0}, EXIF, BAD_EXIF, BAD_PROFILE],
    "PNG": [{}, {"transparency": 0}, ANIMATED, EXIF, BAD_EXIF, BAD_PROFILE],
    "WEBP": [{}, {"lossless": True}, ANIMATED, EXIF, BAD_EXIF, BAD_PROFILE],
    "GIF": [{}, {"interlace": 0}, {"transparency": 0}, ANIMATED],
    "TIFF": [{}, ANIMATED, EXIF, {"big_tiff": True}, *({"compression": name} for name in TIFF_COMPRESSIONS)],
    "AVIF": [{"speed": 10}, {**ANIMATED, "speed": 10}, {**EXIF, "speed": 10}],
}
"""Arguments of `Image.save`, format by format."""

DATES = re.compile(rb"((?:mvhd|tkhd|mdhd)\x01.{3}).{16}", re.DOTALL)
"""When an animated AVIF was made and changed (ISO/IEC 14496-12, 8.2.2, 8.3.2, 8.4.2): libavif writes the
time of day, and the same seed is to send the same bytes."""


def valid(rng: Random, encoding: str) -> bytes:
    """Choose a file of one format."""
    while True:  # every format holds at least one mode
        data = encoded(encoding, rng.choice(MODES), rng.randrange(len(WAYS.get(encoding, [{}]))))
        if data is not None:
            return data


@cache
def encoded(encoding: str, mode: str, way: int) -> bytes | None:
    """Save noise of a mode; None where the format cannot hold it that way."""
    options = dict(WAYS.get(encoding, [{}])[way])
    if mode not in ONLY.get(str(options.get("compression")), MODES):
        return None
    if "frames" in options:
        options["append_images"] = [
            noise(mode, number) for number in range(1, int(str(options.pop("frames"))))
        ]
    stream = io.BytesIO()
    try:
        noise(mode, 0).save(stream, encoding, **options)
    except (OSError, KeyError, ValueError, RuntimeError, TypeError):
        return None
    return DATES.sub(lambda found: found[1] + bytes(16), stream.getvalue())


def noise(mode: str, number: int) -> Image.Image:
    """Fill an image with random bytes: floats among them are huge, infinite or no number."""
    rng = Random(f"{mode} {number}")
    count = len(Image.new(mode, SIZE).tobytes())
    image = Image.frombytes(mode, SIZE, rng.randbytes(count))
    if mode in {"P", "PA"}:
        image.putpalette(rng.randbytes(768))
    return image
