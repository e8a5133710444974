"""Cases are the same for the same seed, differ for others, and are as mixed as they are meant to be."""

import io
from collections import Counter

import pytest

from fuzz.case import Own
from fuzz.chunks import SPLITTERS
from fuzz.kinds import KINDS, REQUEST_LIMIT, generate
from fuzz.seeds import FORMATS, MODES, WAYS, encoded, noise


def test_a_seed_and_a_number_stand_for_one_case() -> None:
    cases = [generate("a", number) for number in range(50)]
    assert cases == [generate("a", number) for number in range(50)]
    assert (
        sum(one == other for one, other in zip(cases, [generate("b", n) for n in range(50)], strict=True)) < 5
    )


def test_an_animation_does_not_say_when_it_was_made() -> None:
    data, written = encoded("AVIF", "RGB", 1), io.BytesIO()
    noise("RGB", 0).save(written, "AVIF", speed=10, save_all=True, append_images=[noise("RGB", 1)])
    assert data is not None
    for box in (b"mvhd", b"tkhd", b"mdhd"):  # version, 3 bytes of flags, two dates of 8 bytes
        assert any(written.getvalue().partition(box)[2][4:20])
        assert data.partition(box)[2][4:20] == bytes(16)


def test_what_is_too_large_may_be_refused_by_the_front_end() -> None:
    kind, case = generate("1", 9335)  # a chunk that was repeated again and again
    assert (kind, len(case.body) > REQUEST_LIMIT) == ("WebP", True)
    assert Own.TOO_LARGE in case.own
    for number in range(300):
        case = generate("0", number)[1]
        assert (Own.TOO_LARGE in case.own) == (len(case.body) > REQUEST_LIMIT)


def test_each_kind_has_its_share() -> None:
    assert sum(weight for weight, _ in KINDS.values()) == 100
    counts = Counter(generate("0", number)[0] for number in range(600))
    assert len(counts) > len(KINDS) - 3
    assert counts["JPEG"] > counts["BMP"]


@pytest.mark.parametrize("encoding", FORMATS)
def test_pieces_joined_are_the_file(encoding: str) -> None:
    data = encoded(encoding, "RGB", 2 if encoding == "WEBP" else 0)  # still ones have few chunks
    assert data is not None
    pieces = SPLITTERS[encoding](data)
    assert len(pieces) > 3
    assert b"".join(pieces) == data


@pytest.mark.parametrize(("encoding", "least"), [("JPEG", 5), ("PNG", 8), ("GIF", 10), ("TIFF", 14)])
def test_a_format_is_tried_in_the_modes_that_it_holds(encoding: str, least: int) -> None:
    held = {mode for mode in MODES if encoded(encoding, mode, 0) is not None}
    assert len(held) >= least
    assert {"1", "L", "RGB"} <= held
    assert all(any(encoded(encoding, mode, way) for mode in held) for way in range(len(WAYS[encoding])))
