"""Small files that would become large: in pixels, in inflated bytes, in frames, in tags."""

import struct
import zlib
from collections.abc import Callable, Sequence
from functools import cache
from random import Random

SIDES = (1, 255, 7_071, 16_383, 16_384, 32_767, 65_535, 65_536, 2**24, 2**31 - 1, 2**32 - 1)
LIMIT = 7_000
"""Side of a square that is just allowed."""
MB = 2**20


def side(rng: Random, most: int) -> int:
    """Choose a width or height that fits a field whose greatest value is `most`."""
    return min(most, rng.choice((*SIDES, rng.randrange(1, 2**31))))


@cache
def zeros(count: int) -> bytes:
    """Deflate zeros, a MB at a time; about a two-hundredth of them."""
    squeeze = zlib.compressobj(1)
    pieces = [squeeze.compress(bytes(min(MB, count - done))) for done in range(0, count, MB)]
    return b"".join([*pieces, squeeze.flush()])


def chunk(name: bytes, content: bytes) -> bytes:
    """Build a PNG chunk."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int, height: int, bits: int, colour: int, *chunks: bytes) -> bytes:
    """Build a PNG of a colour type (0 grey, 2 RGB, 3 palette, 6 RGBA) from its middle chunks."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IEND", b"")


def declared_png(rng: Random) -> bytes:
    """Say a size that the data does not have."""
    data = chunk(b"IDAT", zeros(rng.choice((0, 1000, 10**6))))
    bits, colour = rng.choice(((1, 0), (8, 2), (16, 0), (8, 6), (8, 3)))
    return png(side(rng, 2**32 - 1), side(rng, 2**32 - 1), bits, colour, data)


def full_png(rng: Random) -> bytes:
    """Hold as many pixels as are allowed, or a few more; 1 to 8 bits each."""
    width = rng.choice((LIMIT, LIMIT, LIMIT + 80))
    bits = rng.choice((1, 2, 8))
    return png(width, LIMIT, bits, 0, chunk(b"IDAT", zeros(LIMIT * (1 + -(-width * bits // 8)))))


def deep_png(_: Random) -> bytes:
    """Hold as many pixels as are allowed, of 16 bits each."""
    return png(LIMIT, LIMIT, 16, 0, chunk(b"IDAT", zeros(LIMIT * (1 + 2 * LIMIT))))


def overlong_png(rng: Random) -> bytes:
    """Inflate to far more than its few pixels need."""
    return png(8, 8, 8, 2, chunk(b"IDAT", zeros(rng.choice((1, 16, 64)) * MB)))


def text_png(rng: Random) -> bytes:
    """Inflate a text or a colour profile to many MB, or hold thousands of texts."""
    inflated = zeros(rng.choice((1, 16, 64)) * MB)
    extra = rng.choice(
        (
            chunk(b"zTXt", b"a\0\0" + inflated),
            chunk(b"iTXt", b"a\0\1\0\0\0" + inflated),
            chunk(b"iCCP", b"a\0\0" + inflated),
            chunk(b"tEXt", b"a\0" + bytes(70_000)) * 100,
            chunk(b"zTXt", b"a\0\0" + zeros(60_000)) * 3_000,
        )
    )
    return png(8, 8, 8, 2, extra, chunk(b"IDAT", zlib.compress(bytes(8 * 25))), extra)


def gif(rng: Random) -> bytes:
    """Many frames, on a screen of any size, each in any place."""
    screen = rng.choice(((1, 1), (48, 40), (LIMIT, LIMIT), (65_535, 65_535), (65_535, 1)))
    palette = b"\0\0\0\xff\xff\xff"
    left, width = rng.choice(((0, 1), (0, 0), (65_535, 1), (0, 65_535)))
    image = b"," + struct.pack("<HHHHB", left, 0, width, 1, 0) + b"\x02\x02D\x01\0"
    frame = b"!\xf9\x04\x08\0\0\0\0" + image
    return (
        b"GIF89a"
        + struct.pack("<HHBBB", *screen, 0x80, 0, 0)
        + palette
        + frame * rng.choice((1, 10, 20_000))
        + b";"
    )


def tiff(rng: Random) -> bytes:
    """Compress zeros, with entries of huge counts, sizes or places, or a directory that follows itself."""
    data = zeros(10**7)
    size = rng.choice((8, 1000, LIMIT))
    entries = {
        256: (4, 1, size),  # width
        257: (4, 1, size),  # height
        258: (3, 1, 8),  # bits per sample
        259: (3, 1, 8),  # compression: deflate
        262: (3, 1, 1),  # photometric interpretation: black is zero
        273: (4, 1, 8),  # strip offsets
        277: (3, 1, 1),  # samples per pixel
        278: (4, 1, size),  # rows per strip
        279: (4, 1, len(data)),  # strip byte counts
    }
    for tag in rng.sample(sorted(entries), rng.randrange(4)):
        kind, count, value = entries[tag]
        entries[tag] = rng.choice(
            ((kind, rng.choice((0, 2**28, 2**32 - 1)), value), (kind, 1, side(rng, 2**32 - 1)))
        )
    if rng.random() < 0.5:  # an entry of any kind, somewhere
        tag, count = rng.randrange(254, 65_536), rng.choice((1, 2**16, 2**32 - 1))
        entries[tag] = (rng.randrange(14), count, rng.randrange(2**32))
    directory = 8 + len(data)
    listed = [struct.pack("<HHII", tag, *entry) for tag, entry in sorted(entries.items())]
    parts = [b"II*\0", struct.pack("<I", directory), data, struct.pack("<H", len(listed)), *listed]
    return b"".join([*parts, struct.pack("<I", rng.choice((0, directory, 2**32 - 1)))])


def jpeg(rng: Random) -> bytes:
    """Build a frame of any size, sequential or progressive, with up to thousands of scans."""
    progressive = rng.random() < 0.5
    height, width = rng.choice(((65_535, 65_535), (LIMIT, LIMIT), (LIMIT, LIMIT), (1, 65_535), (512, 512)))
    frame = struct.pack(
        ">BBHBHHB3B", 0xFF, 0xC2 if progressive else 0xC0, 11, 8, height, width, 1, 1, 0x11, 0
    )
    table = b"\xff\xdb\0\x43\0" + b"\1" * 64
    codes = b"\xff\xc4\0\x14\0\1" + bytes(15) + b"\0"  # one code of one bit
    codes += b"\xff\xc4\0\x14\x10\1" + bytes(15) + b"\0"
    spectrum = b"\0\0\0" if progressive else b"\0\x3f\0"
    scan = b"\xff\xda\0\x08\1\1\0" + spectrum + b"\0"
    return b"\xff\xd8" + table + frame + codes + scan * rng.choice((1, 100, 20_000)) + b"\xff\xd9"


def webp(rng: Random) -> bytes:
    """Build a canvas or a frame of up to 2^24 pixels a side."""
    wide, high = (side(rng, 2**24) - 1 for _ in range(2))
    canvas = b"VP8X" + struct.pack("<II", 10, rng.choice((0, 2, 16))) + wide.to_bytes(3, "little")
    canvas += high.to_bytes(3, "little")
    lossless = b"VP8L" + struct.pack("<IBI", 5, 0x2F, rng.randrange(2**28)) + b"\0"
    body = b"WEBP" + rng.choice((canvas, canvas + lossless, lossless))
    return b"RIFF" + struct.pack("<I", len(body)) + body


def bmp(rng: Random) -> bytes:
    """Say a size of any sign, with any number of bits, and run lengths for none of it."""
    bits, compression = rng.choice(((1, 0), (4, 2), (8, 1), (24, 0), (32, 3), (65_535, 9)))
    shape = (rng.choice((1, -1)) * side(rng, 2**31 - 1) for _ in range(2))
    header = struct.pack(
        "<IiiHHIIiiII", 40, *shape, 1, bits, compression, 0, 0, 0, rng.choice((0, 2**32 - 1)), 0
    )
    pixels = b"\0\2\xff\xff" * rng.choice((1, 10_000)) + b"\0\1"
    return b"BM" + struct.pack("<IHHI", 54 + len(pixels), 0, 0, 54) + header + pixels


def avif(rng: Random) -> bytes:
    """Boxes that say more than there is, or lie in each other a thousand deep."""
    kinds = b"ftypavif\0\0\0\0avifmif1"
    content = b"".join(struct.pack(">I", rng.choice((0, 8, 2**31, 2**32 - 1))) + b"meta" for _ in range(1000))
    return struct.pack(">I", 4 + len(kinds)) + kinds + content


COMMON: Sequence[Callable[[Random], bytes]] = (
    *(declared_png, overlong_png, text_png, gif, tiff, tiff, jpeg, webp, bmp, avif),
)
COSTLY: Sequence[Callable[[Random], bytes]] = (full_png, deep_png)
"""What takes seconds and hundreds of MB, because it is allowed."""
COSTLY_SHARE = 0.03


def bomb(rng: Random) -> bytes:
    """Build one of them all."""
    return rng.choice(COSTLY if rng.random() < COSTLY_SHARE else COMMON)(rng)
