"""Scans of JPEG files as libjpeg writes them, and of files made to have many."""

import io

import pytest
from PIL import Image

from model.errors import ImageTooLarge
from model.image import MAX_SCANS, decode
from model.jpeg import count_scans

END = b"\xff\xd9"
SCAN = b"\xff\xda\0\x08\1\1\0\0\0\0"  # of the first coefficients of one component, without data


def encoded(mode: str, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.effect_noise((64, 48), 60).convert(mode).save(stream, "JPEG", quality=95, **options)
    return stream.getvalue()


def with_scans(number: int, size: tuple[int, int] = (7000, 7000)) -> bytes:
    """A progressive JPEG whose pixels are all 0."""
    table = b"\xff\xdb\0\x43\0" + b"\1" * 64
    width, height = (side.to_bytes(2) for side in size)
    frame = b"\xff\xc2\0\x0b\x08" + height + width + b"\1\1\x11\0"
    code = b"\xff\xc4\0\x14\0\1" + bytes(16)  # one code, of one bit
    return b"\xff\xd8" + table + frame + code + SCAN * number + END


@pytest.mark.parametrize(
    ("mode", "options", "scans"),
    [("RGB", {}, 1), ("RGB", {"progressive": True}, 10), ("L", {"progressive": True}, 6)],
)
def test_the_scans_that_libjpeg_writes(mode: str, options: dict[str, object], scans: int) -> None:
    # jcparam.c: jpeg_simple_progression makes 10 scans for YCbCr and 6 for one component
    assert count_scans(encoded(mode, **options), MAX_SCANS) == scans


def test_thumbnails_and_what_follows_the_image_do_not_count() -> None:
    inner = encoded("RGB", progressive=True)
    segment = b"\xff\xe1" + (len(inner) + 2).to_bytes(2) + inner
    whole = encoded("RGB")
    film = b"\0\0" + SCAN * 500
    assert count_scans(whole[:2] + segment + whole[2:] + film, MAX_SCANS) == 1


def test_broken_data_has_the_scans_before_its_end() -> None:
    whole = encoded("RGB", progressive=True)
    found = [count_scans(whole[:size], MAX_SCANS) for size in range(len(whole))]
    assert found == sorted(found)
    assert (found[0], found[-1]) == (0, 10)


def test_too_many_scans_are_refused_before_any_is_decoded() -> None:
    assert decode(with_scans(MAX_SCANS, (700, 600))).size == (700, 600)
    for number in (MAX_SCANS + 1, 1_000_000):
        with pytest.raises(ImageTooLarge, match=f"more than the {MAX_SCANS} scans"):
            decode(with_scans(number))
