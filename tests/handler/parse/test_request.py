"""Requests in the forms that TorchServe hands over (tests/serving sends them through a real one)."""

import pytest

from handler.parse.base64_photo import decoded_photo
from handler.parse.request import form_fields
from handler.photo import BodyFormat, PhotoRequest
from tests.handler.parse.conftest import BASE64, PHOTO, Item, as_body, asked, only, parse, tensor


@pytest.mark.parametrize("field", ["body", "image", "data"])
def test_the_photo_is_found_in_each_field(field: str) -> None:
    request = parse({field: bytearray(PHOTO)})
    assert request.format is BodyFormat.SINGLE
    assert only(request) == asked()


@pytest.mark.parametrize(
    "image",
    [
        BASE64,
        f"data:image/png;base64,{BASE64}",
        f"DATA:;base64,{BASE64}",
        f"data:image/png;charset=x;base64,{BASE64}",
        {"b64": BASE64},
        BASE64[:7] + "\n" + BASE64[7:],
    ],
)
@pytest.mark.parametrize("key", ["image", "data"])
def test_json_holds_base64_or_a_data_url(key: str, image: object) -> None:
    for item in as_body({key: image, "options": {"num_beams": 2}}):
        assert only(parse(item)) == asked(key, num_beams=2)


def test_several_photos_share_and_replace_fields() -> None:
    instances: list[object] = [
        {"image": BASE64, "options": {"num_beams": 4}},
        BASE64,
        {"b64": BASE64, "length_penalty": 2},
    ]
    for item in as_body({"instances": instances, "options": {"num_beams": 2}, "timings": True}):
        request = parse(item)
        assert request.format is BodyFormat.INSTANCES
        assert request.photos == (
            asked("instances[0].image", num_beams=4, timings=True),
            asked("instances[1]", num_beams=2, timings=True),
            asked("instances[2].b64", num_beams=2, timings=True, length_penalty=2),
        )


@pytest.mark.parametrize("place", ["json_body", "tensors"])
def test_a_defect_costs_the_other_photos_nothing(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_once(value: object, where: str) -> bytes:
        if where.endswith("[0]"):
            raise MemoryError
        return decoded_photo(value, where)

    monkeypatch.setattr(f"handler.parse.{place}.decoded_photo", fail_once)
    several = tensor(shape=[2], data=[BASE64] * 2)
    body = {"instances": [BASE64] * 2} if place == "json_body" else {"inputs": [several]}
    first, second = parse({"body": body}).photos
    assert isinstance(first, MemoryError)
    assert isinstance(second, PhotoRequest)


def test_tensors_hold_photos() -> None:
    document = {
        "id": "seven",
        "parameters": {"num_beams": 2},
        "inputs": [tensor(shape=[2, 1], data=[[BASE64], [BASE64]]), tensor(parameters={"num_beams": 3})],
        "outputs": [{"name": "caption", "parameters": {"binary_data": False}}],
    }
    for item in as_body(document):
        request = parse(item)
        assert (request.format, request.id, request.outputs) == (BodyFormat.TENSORS, "seven", ("caption",))
        assert request.photos == (
            asked("inputs[0].data[0]", num_beams=2),
            asked("inputs[0].data[1]", num_beams=2),
            asked("inputs[1].data[0]", num_beams=3),
        )


def test_text_is_read_as_the_field_needs_it() -> None:
    texts: Item = {
        "num_beams": b"3",
        "max_new_tokens": "12",
        "length_penalty": b" -0.5 ",
        "temperature": "1e-1",
        "early_stopping": b"never",
        "do_sample": b"True",
        "prompt": "caf\u00e9 7".encode(),
        "top_k": b"a few",
        "seed": b"1.5",
        "timings": b"yes",
    }
    assert form_fields({"image": bytearray(PHOTO)} | texts) == {
        "num_beams": 3,
        "max_new_tokens": 12,
        "length_penalty": -0.5,
        "temperature": 0.1,
        "early_stopping": "never",
        "do_sample": True,
        "prompt": "café 7",
        # What is no number stays text, which the check of its bounds refuses.
        "top_k": "a few",
        "seed": "1.5",
        "timings": "yes",
    }
    photo: Item = {"image": bytearray(PHOTO)}
    with_object = photo | {"options": bytearray(b'{"num_beams": 3}'), "length_penalty": b"2"}
    assert only(parse(with_object)) == asked(num_beams=3, length_penalty=2.0)
    assert only(parse(photo | {"options": {"num_beams": 3}})) == asked(num_beams=3)


def test_headers_are_the_defaults_of_the_body() -> None:
    headers: dict[str, object] = {
        "X-Caption-Num-Beams": "3",
        "x-caption-prompt": "caf%C3%A9 100%25",
        "x-caption-form": {"content-type": "a field of multipart with this name"},
        "Accept": "*/*",
    }
    raw = only(parse({"body": bytearray(PHOTO)}, headers))
    assert raw == asked(num_beams=3, prompt="café 100%")
    for item in as_body({"image": BASE64, "options": {"num_beams": 4}}):
        assert only(parse(item, headers)) == asked(num_beams=4, prompt="café 100%")
    both: Item = {"image": bytearray(PHOTO), "num_beams": b"5"}
    assert only(parse(both, headers)) == asked(num_beams=5, prompt="café 100%")


def test_the_url_asks_for_an_explanation_and_a_field_does() -> None:
    item: Item = {"body": {"instances": [BASE64]}}
    assert parse(item, {"explain": "True"}).explained
    assert only(parse(item, {"explain": "True"})).explanation is not None
    assert not parse(item, {"explain": {"content-type": ""}}).explained
    assert only(parse({"image": bytearray(PHOTO), "explain": b"true"})).explanation is not None
    assert only(parse(item)).explanation is None


def test_the_query_of_an_old_url_is_read_beside_json() -> None:
    item: Item = {"model_name": "captioner", "num_beams": "2", "body": {"image": BASE64}}
    assert only(parse(item)) == asked(num_beams=2)
