"""Requests in the forms that TorchServe hands over (tests/serving sends them through a real one)."""

import pytest

from handler.request import RequestError, parse_request


@pytest.mark.parametrize("field", ["body", "image", "data"])
def test_the_photo_is_found_in_each_field(field: str) -> None:
    assert parse_request({field: bytearray(b"\x89PNG")}).image == b"\x89PNG"


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({}, "no photo"),
        ({"body": bytearray()}, "empty"),
        ({"body": "decoded from text/plain"}, "text or JSON"),
        ({"body": {"image": "decoded from JSON"}}, "text or JSON"),
        ({"image": bytearray(b"a"), "data": bytearray(b"b")}, "image and data are both given"),
        ({"image": bytearray(b"a"), "beams": bytearray(b"4")}, "unknown field 'beams'"),
    ],
)
def test_anything_but_one_photo_is_refused(item: dict[str, object], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        parse_request(item)


def test_a_long_field_name_is_not_sent_back_whole() -> None:
    with pytest.raises(RequestError) as caught:
        parse_request({"x" * 10_000: bytearray(b"a")})
    assert len(str(caught.value)) < 200
