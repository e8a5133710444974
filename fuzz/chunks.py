"""Damage that knows a format: its chunks, segments or entries are dropped, doubled, moved and changed.

Each splitter cuts a file into pieces that joined give the file again.
"""

import struct
import zlib
from collections.abc import Callable, Mapping
from random import Random

from fuzz.mutations import mutated

Splitter = Callable[[bytes], list[bytes]]


def split_png(data: bytes) -> list[bytes]:
    """Signature, then chunks: length, name, content, CRC (PNG specification, section 5)."""
    pieces, start = [data[:8]], 8
    while start + 8 <= len(data):
        end = start + 12 + int.from_bytes(data[start : start + 4], "big")
        pieces.append(data[start:end])
        start = end
    return pieces


def split_jpeg(data: bytes) -> list[bytes]:
    """Start marker, then segments: marker, length, content; from the first scan on one (ITU-T T.81, B.1)."""
    pieces, start = [data[:2]], 2
    while start + 4 <= len(data) and data[start + 1] != 0xDA:
        end = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
        pieces.append(data[start:end])
        start = end
    return [*pieces, data[start:]]


def split_riff(data: bytes) -> list[bytes]:
    """RIFF header, then chunks of even length: name, length, content (WebP container specification)."""
    pieces, start = [data[:12]], 12
    while start + 8 <= len(data):
        length = int.from_bytes(data[start + 4 : start + 8], "little")
        end = start + 8 + length + length % 2
        pieces.append(data[start:end])
        start = end
    return pieces


def split_gif(data: bytes) -> list[bytes]:
    """Screen and palette, then blocks, cut where a sub-block ends (GIF89a, section 15 on)."""
    start = 13 + (3 * 2 ** (data[10] % 8 + 1) if data[10] & 0x80 else 0)
    return [data[:13], data[13:start], *(block + b"\0" for block in data[start:-2].split(b"\0")), data[-1:]]


def split_tiff(data: bytes) -> list[bytes]:
    """First directory: what stands before it, its entries of 12 bytes, what stands behind (TIFF 6, 2)."""
    order = "little" if data[:2] == b"II" else "big"
    start = int.from_bytes(data[4:8], order)  # type: ignore[arg-type]  # two literals
    count = int.from_bytes(data[start : start + 2], order)  # type: ignore[arg-type]
    first, end = start + 2, start + 2 + 12 * count
    return [data[:first], *(data[at : at + 12] for at in range(first, end, 12)), data[end:]]


def split_boxes(data: bytes) -> list[bytes]:
    """Boxes: length, name, content (ISO/IEC 14496-12, 4.2); those within `meta` apart."""
    pieces, start = [], 0
    while start + 8 <= len(data):
        length = int.from_bytes(data[start : start + 4], "big")
        end = start + (12 if data[start + 4 : start + 8] == b"meta" else max(8, length))
        pieces.append(data[start:end])
        start = end
    return [*pieces, data[start:]]


def split_bmp(data: bytes) -> list[bytes]:
    """File header, size of the next one, its fields of 4 bytes, pixels."""
    return [data[:14], *(data[at : at + 4] for at in range(14, 54, 4)), data[54:]]


SPLITTERS: Mapping[str, Splitter] = {
    "PNG": split_png,
    "JPEG": split_jpeg,
    "WEBP": split_riff,
    "GIF": split_gif,
    "TIFF": split_tiff,
    "AVIF": split_boxes,
    "BMP": split_bmp,
}


def rearranged(data: bytes, encoding: str, rng: Random) -> bytes:
    """Change one file's pieces once or a few times."""
    pieces = SPLITTERS[encoding](data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        one, other = rng.randrange(len(pieces)), rng.randrange(len(pieces))
        match rng.randrange(5):
            case 0:
                pieces[one], pieces[other] = pieces[other], pieces[one]
            case 1:
                pieces[one] = b""
            case 2:
                pieces.insert(other, pieces[one])
            case 3:
                pieces[one] *= rng.choice((2, 10, 100))
            case 4:
                changed = mutated(pieces[one], rng)
                pieces[one] = with_crc(changed) if encoding == "PNG" and one else changed
    return b"".join(pieces)


def with_crc(chunk: bytes) -> bytes:
    """Make a PNG chunk's CRC right, so that its content is looked at."""
    return chunk[:-4] + struct.pack(">I", zlib.crc32(chunk[4:-4]))
