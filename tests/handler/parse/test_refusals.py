"""Requests that are refused, whole or for one of their photos."""

import pytest

from handler.errors import RequestError
from handler.photo import PhotoRequest
from model.errors import OptionError
from tests.handler.parse.conftest import BASE64, PHOTO, Item, parse, tensor


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
