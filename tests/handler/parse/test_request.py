"""Requests in the forms that TorchServe hands over (tests/serving sends them through a real one)."""

import base64
import json
from typing import Any

import pytest

from handler.errors import RequestError
from handler.parse.base64_photo import decoded_photo
from handler.parse.check import photo_request
from handler.parse.request import form_fields, parse_request
from handler.photo import BodyFormat, ParsedRequest, PhotoRequest
from handler.policy import Policy
from model.errors import OptionError
from model.search.options import GenerationOptions

PHOTO = b"\x89PNG and more"
BASE64 = base64.b64encode(PHOTO).decode()
POLICY = Policy(GenerationOptions(), max_photos=3)
Item = dict[str, object]


def parse(item: Item, headers: dict[str, object] | None = None) -> ParsedRequest:
    return parse_request(item, {"explain": "False"} | (headers or {}), POLICY)


def only(request: ParsedRequest) -> PhotoRequest:
    (photo,) = request.photos
    assert isinstance(photo, PhotoRequest)
    return photo


def asked(where: str = "image", **fields: object) -> PhotoRequest:
    """What is asked of PHOTO by these fields alone."""
    return photo_request(PHOTO, fields, where, POLICY)


def as_body(document: object) -> list[Item]:
    """The same JSON as TorchServe hands it over when it is declared, and when it is not."""
    text = json.dumps(document)
    return [{"body": document}, {"body": bytearray(text.encode())}, {"body": text}, {"body": f"\n {text}"}]


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


def test_a_wrong_instance_is_its_own_error() -> None:
    request = parse({"body": {"instances": [BASE64, {"image": "***"}, {"image": BASE64, "beams": 1}]}})
    first, second, third = request.photos
    assert isinstance(first, PhotoRequest)
    assert str(second) == "instances[1].image: is not valid base64"
    assert isinstance(third, RequestError)
    assert third.field == "beams"


def test_a_value_that_is_not_allowed_is_its_photos_own_error() -> None:
    instances = parse({"body": {"instances": [{"image": BASE64, "num_beams": 99}, BASE64]}})
    tensors = parse({"body": {"inputs": [tensor(parameters={"num_beams": 99}), tensor()]}})
    for request in (instances, tensors):
        first, second = request.photos
        assert isinstance(first, OptionError)
        assert first.field == "num_beams"
        assert isinstance(second, PhotoRequest)


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


def tensor(**changes: object) -> dict[str, Any]:
    return {"name": "image", "shape": [1], "datatype": "BYTES", "data": [BASE64]} | changes


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


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({}, "no photo"),
        ({"body": bytearray()}, "body: the photo is empty"),
        ({"body": "decoded from text/plain"}, "text instead of bytes"),
        ({"image": {"a": "part of type application/json"}}, "text instead of bytes"),
        ({"body": 5}, "the JSON body is no object"),
        ({"body": [BASE64]}, "the JSON body is no object"),
        ({"body": None}, "text instead of bytes"),
        ({"body": bytearray(b'{"image": ')}, "body: is not valid JSON"),
        ({"body": bytearray(b"{" + b'"a":{' * 5000)}, "body: is not valid JSON"),
        ({"body": bytearray(b'{"image": "\xff"}')}, "body: is not valid JSON"),
        ({"body": bytearray(b'{"seed": ' + b"9" * 5000 + b"}")}, "body: is not valid JSON"),
        ({"body": {}}, "no photo in the JSON body"),
        ({"body": {"image": 5}}, "image: holds no photo"),
        ({"body": {"image": None}}, "image: holds no photo"),
        ({"body": {"image": ""}}, "image: is empty"),
        ({"body": {"image": "data:image/png;base64,"}}, "image: is empty"),
        ({"body": {"image": "data:image/png,abc"}}, 'image: is a "data:" URL without'),
        ({"body": {"image": "https://example.org/dog.jpg"}}, "image: is a URL, and none is fetched"),
        ({"body": {"image": "file:///etc/passwd"}}, "image: is a URL, and none is fetched"),
        ({"body": {"image": "/etc/passwd!"}}, "image: is not valid base64"),
        ({"body": {"image": "\ud800"}}, "image: is not valid base64"),
        ({"body": {"image": "YQ="}}, "image: is not valid base64"),
        ({"body": {"image": BASE64, "data": BASE64}}, "image and data are both given"),
        ({"body": {"image": BASE64, "url": "x"}}, "url: is not known"),
        ({"body": {"image": BASE64, "option": {}}}, "option: is not known; did you mean options?"),
        ({"body": {"image": BASE64, "NUM_BEAMS": 1}}, "NUM_BEAMS: is not known; did you mean num_beams?"),
        ({"images": bytearray(PHOTO)}, "images: is not known; did you mean image?"),
        ({"file": bytearray(PHOTO)}, "file: is not known; known are body, caption, data, .* image, "),
        ({"body": {"image": BASE64, "options": 3}}, "options: is no JSON object"),
        (
            {"body": {"image": BASE64, "options": {"beams": 3}}},
            "beams: is not known; did you mean num_beams?",
        ),
        ({"body": {"image": BASE64, "seed": 1, "options": {"seed": 1}}}, "seed: is given twice"),
        ({"body": {"instances": []}}, "instances: is no list of one photo"),
        ({"body": {"instances": BASE64}}, "instances: is no list of one photo"),
        ({"body": {"instances": [BASE64] * 4}}, "instances: holds 4 photos; at most 3"),
        ({"body": {"instances": [BASE64], "image": BASE64}}, "image: is given beside instances"),
        ({"body": {"inputs": []}}, "inputs: is no list"),
        ({"body": {"inputs": [3]}}, r"inputs\[0\]: is no object"),
        ({"body": {"inputs": [tensor()], "image": BASE64}}, "image: is not known beside inputs"),
        ({"body": {"inputs": [tensor(datatype="FP32")]}}, r'inputs\[0\].datatype: is not "BYTES"'),
        ({"body": {"inputs": [tensor(data=BASE64)]}}, r"inputs\[0\].data: is no list"),
        ({"body": {"inputs": [tensor(data=[])]}}, r"inputs\[0\].data: is no list"),
        ({"body": {"inputs": [tensor(shape=[2])]}}, r"inputs\[0\].shape: does not fit the 1"),
        ({"body": {"inputs": [tensor(shape=["1"])]}}, r"inputs\[0\].shape: is no list of integers"),
        ({"body": {"inputs": [tensor(shape=[1] * 8 + [5])]}}, r"inputs\[0\].shape: does not fit the 1"),
        ({"body": {"inputs": [tensor(name=5)]}}, r"inputs\[0\].name: is no string"),
        ({"body": {"inputs": [tensor(color=1)]}}, r"color: is not known in inputs\[0\]"),
        ({"body": {"inputs": [tensor()] * 4}}, "inputs: holds 4 photos; at most 3"),
        ({"body": {"inputs": [tensor()], "id": 7}}, "id: is no string"),
        ({"body": {"inputs": [tensor()], "outputs": [{"name": "words"}]}}, "outputs: is no list"),
        ({"body": {"inputs": [tensor()], "outputs": 5}}, "outputs: is no list"),
        ({"body": {"inputs": [tensor()], "outputs": [{"name": "reply"}] * 2}}, "outputs: names reply twice"),
        (
            {"body": {"inputs": [tensor()], "outputs": [{"name": "reply", "num_beams": 2}]}},
            "outputs: asks of reply what no output has",
        ),
        (
            {
                "body": {
                    "inputs": [tensor()],
                    "outputs": [{"name": "reply", "parameters": {"binary_data": True}}],
                }
            },
            "outputs: asks of reply what no output has",
        ),
        ({"body": {"inputs": [tensor()], "parameters": {"num_beans": 1}}}, "did you mean num_beams"),
        ({"image": bytearray(b"a"), "data": bytearray(b"b")}, "image and data are both given"),
        ({"image": bytearray(b"a"), "beams": bytearray(b"4")}, "beams: is not known; did you mean num_beams"),
        ({"image": bytearray(b"a"), "prompt": bytearray(b"\xff\xfe")}, "prompt: is no UTF-8 text"),
        ({"image": bytearray(b"a"), "options": bytearray(b"num_beams=3")}, "options: is no JSON object"),
        ({"image": bytearray(b"a"), "options": bytearray(b"{num_beams")}, "options: is not valid JSON"),
        ({"image": bytearray(b"a"), "options": "\ud800"}, "options: is no JSON object"),
    ],
)
def test_anything_but_a_photo_is_refused(item: Item, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        parse(item)


def test_a_wrong_element_of_a_tensor_is_its_own_error() -> None:
    request = parse({"body": {"inputs": [tensor(shape=[-1], data=[BASE64, 3])]}})
    assert isinstance(request.photos[0], PhotoRequest)
    assert str(request.photos[1]).startswith("inputs[0].data[1]: holds no photo")


def test_an_unknown_header_is_refused() -> None:
    with pytest.raises(RequestError, match="beams: is not known; did you mean num_beams"):
        parse({"body": bytearray(PHOTO)}, {"X-Caption-Beams": "3"})


def test_a_text_that_is_not_decodable_in_a_header_is_refused() -> None:
    with pytest.raises(RequestError, match="prompt: is no percent-encoded UTF-8"):
        parse({"body": bytearray(PHOTO)}, {"X-Caption-Prompt": "caf%E9"})


@pytest.mark.parametrize("name", ["x" * 10_000, "\ud800", "line\nbreak"])
def test_a_strange_name_is_sent_back_short_and_printable(name: str) -> None:
    items: tuple[Item, ...] = (
        {name: bytearray(b"a")},
        {"body": {"image": BASE64, name: 1}},
        {"body": {"inputs": [tensor()], name: 1}},
        {"body": {"inputs": [tensor() | {name: 1}]}},
    )
    for item in items:
        with pytest.raises(RequestError) as caught:
            parse(item)
        assert len(str(caught.value)) < 400
        assert str(caught.value).isprintable()
