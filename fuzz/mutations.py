"""Damage that needs no knowledge of a format: bits, bytes, integers, pieces."""

from collections.abc import Callable, Sequence
from random import Random

HEADER = 64
"""Bytes at the beginning that every second change falls on."""
BOUNDARIES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)

Mutation = Callable[[bytearray, Random], None]


def place(data: bytearray, rng: Random) -> int:
    """Choose a byte, often in the header."""
    return rng.randrange(min(len(data), HEADER) if rng.random() < 0.5 else len(data))


def flip_bits(data: bytearray, rng: Random) -> None:
    """Flip 1 to 32 bits."""
    for _ in range(2 ** rng.randrange(6)):
        data[place(data, rng)] ^= 1 << rng.randrange(8)


def set_integer(data: bytearray, rng: Random) -> None:
    """Write a boundary value of 1, 2 or 4 bytes, in either byte order."""
    width = rng.choice((1, 2, 4))
    start = place(data, rng)
    value = rng.choice([value for value in BOUNDARIES if value < 256**width])
    data[start : start + width] = value.to_bytes(width, rng.choice(("little", "big")))


def randomise(data: bytearray, rng: Random) -> None:
    """Replace a piece by random bytes."""
    start = place(data, rng)
    piece = data[start : start + 2 ** rng.randrange(9)]
    data[start : start + len(piece)] = rng.randbytes(len(piece))


def truncate(data: bytearray, rng: Random) -> None:
    """Cut off the end."""
    del data[place(data, rng) :]


def behead(data: bytearray, rng: Random) -> None:
    """Cut off the beginning."""
    del data[: place(data, rng)]


def insert(data: bytearray, rng: Random) -> None:
    """Insert random bytes, or one byte many times."""
    count = 2 ** rng.randrange(12)
    start = place(data, rng)
    data[start:start] = rng.choice((rng.randbytes(count), rng.randbytes(1) * count))


def remove(data: bytearray, rng: Random) -> None:
    """Remove a piece."""
    start = place(data, rng)
    del data[start : start + 2 ** rng.randrange(9)]


def repeat(data: bytearray, rng: Random) -> None:
    """Repeat a piece."""
    start = place(data, rng)
    piece = data[start : start + 2 ** rng.randrange(9)]
    data[start:start] = piece * rng.randrange(1, 9)


def swap(data: bytearray, rng: Random) -> None:
    """Exchange two neighbouring pieces."""
    first, middle, last = sorted(place(data, rng) for _ in range(3))
    data[first:last] = data[middle:last] + data[first:middle]


MUTATIONS: Sequence[Mutation] = (
    *(flip_bits, set_integer, randomise, truncate, behead, insert, remove, repeat, swap),
)


def mutated(data: bytes, rng: Random) -> bytes:
    """Apply one mutation or a few in a row."""
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if damaged:
            rng.choice(MUTATIONS)(damaged, rng)
    return bytes(damaged)
