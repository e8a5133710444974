"""Reply bodies, compared with the interface that clients are promised."""

import json
import math
import re
from dataclasses import replace
from http import HTTPStatus

import pytest

from handler import errors
from handler.errors import CLIENT_ERRORS, Busy, ReplyTooLarge, RequestError, status_of
from handler.photo import BodyFormat, ParsedRequest, PhotoRequest, PhotoResult, Timings
from handler.reply import error_body, error_reply, photo_body, request_reply
from model.captioner import Caption, Token
from model.errors import ExplanationTimeout, ImageTooLarge, NotAnImage, OptionError
from model.search.options import GenerationOptions

CAPTIONS = (
    Caption("a café", -0.5, (Token("a", -0.25, 1), Token(" café", -0.75, 2))),
    Caption("a dog", -0.9, (Token("a", -0.25, 1), Token(" dog", -1.55, 3))),
)
MODEL = {"name": "captioner", "version": "1.0"}
PHOTO = PhotoRequest(b"a photo", GenerationOptions(), where="instances[0]")
TIMINGS = Timings(decode=1.23456, encode=2.0)
RESULT = PhotoResult(CAPTIONS[1:], TIMINGS)
SAID = photo_body(PHOTO, RESULT)


def words(*texts: str) -> list[dict[str, object]]:
    (one, other) = texts
    return [
        {"text": one, "start": 0, "end": 1, "tokens": [0], "logprob": -0.25},
        {
            "text": other,
            "start": 2,
            "end": 2 + len(other),
            "tokens": [1],
            "logprob": {4: -0.75, 3: -1.55}[len(other)],
        },
    ]


def test_captions_become_the_promised_object() -> None:
    result = PhotoResult(CAPTIONS, TIMINGS)
    reply = request_reply(ParsedRequest(BodyFormat.SINGLE, (PHOTO,)), [result], MODEL)
    assert reply.status == HTTPStatus.OK
    assert json.loads(reply.body) == {
        "caption": "a café",
        "score": -0.5,
        "captions": [
            {
                "caption": "a café",
                "score": -0.5,
                "tokens": [{"text": "a", "logprob": -0.25}, {"text": " café", "logprob": -0.75}],
                "words": words("a", "café"),
            },
            {
                "caption": "a dog",
                "score": -0.9,
                "tokens": [{"text": "a", "logprob": -0.25}, {"text": " dog", "logprob": -1.55}],
                "words": words("a", "dog"),
            },
        ],
        "model": MODEL,
    }
    assert "café".encode() in reply.body  # readable as it is, not escaped


def test_timings_and_explanation_are_there_where_asked_for() -> None:
    result = PhotoResult(CAPTIONS, TIMINGS, {"method": "attention"})
    body = photo_body(replace(PHOTO, timings=True), result)
    assert body["timings"] == {"decode": 1.23, "encode": 2.0, "generate": 0.0, "explain": 0.0}
    assert body["explanation"] == {"method": "attention"}


@pytest.mark.parametrize("score", [math.nan, -math.inf])
def test_a_number_that_json_lacks_is_refused(score: float) -> None:
    result = PhotoResult((Caption("a", score, ()),), TIMINGS)
    with pytest.raises(ValueError, match="JSON compliant"):
        request_reply(ParsedRequest(BodyFormat.SINGLE, (PHOTO,)), [result], {})


@pytest.mark.parametrize(
    ("error", "code", "kind", "field"),
    [
        (RequestError("two photos"), 400, "bad_request", None),
        (RequestError("is no base64", "image"), 400, "bad_request", "image"),
        (ImageTooLarge("too many pixels"), 413, "image_too_large", "instances[0]"),
        (NotAnImage("not decodable"), 415, "not_an_image", "instances[0]"),
        (OptionError("num_beams", "17 is too many"), 422, "invalid_value", "num_beams"),
        (Busy("later"), 503, "busy", None),
        (ExplanationTimeout("too slow"), 503, "busy", None),
        (ReplyTooLarge("too many photos"), 422, "reply_too_large", None),
    ],
)
def test_what_the_client_did_wrong_is_said(error: Exception, code: int, kind: str, field: str | None) -> None:
    expected = {"code": code, "type": kind, "message": str(error)} | ({"field": field} if field else {})
    if field != "instances[0]":
        reply = error_reply(error)
        assert (reply.status, json.loads(reply.body)) == (code, {"error": expected})
    photo = PHOTO if field else error
    reply = request_reply(ParsedRequest(BodyFormat.SINGLE, (photo,)), [error], MODEL)
    assert (reply.status, json.loads(reply.body)) == (code, {"error": expected})


@pytest.mark.parametrize("kind", CLIENT_ERRORS)
def test_a_special_case_of_an_error_is_that_error(kind: type[Exception]) -> None:
    special = type("Special", (kind,), {"__init__": lambda self: None})()
    assert status_of(special) == CLIENT_ERRORS[kind][0]
    assert error_body(special, None)["error"]["type"] == CLIENT_ERRORS[kind][1]


def test_the_list_of_errors_is_complete() -> None:
    listed = re.findall(r"^    (\w+) +(\d{3}) (\w+)", errors.__doc__ or "", re.MULTILINE)
    known = {kind.__name__: (str(code.value), told) for kind, (code, told) in CLIENT_ERRORS.items()}
    assert {name: (code, told) for name, code, told in listed} == known


def test_an_internal_error_points_to_the_log() -> None:
    reply = error_reply(RuntimeError("secret"))
    error = json.loads(reply.body)["error"]
    assert (reply.status, error["code"], error["type"]) == (500, 500, "internal_error")
    assert "log" in error["message"]
    assert b"secret" not in reply.body


@pytest.mark.parametrize(
    ("results", "status"),
    [
        ([RESULT, NotAnImage("no")], 200),
        ([NotAnImage("no"), RESULT], 200),
        ([NotAnImage("no"), RequestError("what")], 415),
        ([RequestError("what"), NotAnImage("no")], 400),
    ],
)
def test_several_photos_succeed_where_one_does(results: list[PhotoResult | Exception], status: int) -> None:
    for form, explained in (
        (BodyFormat.INSTANCES, False),
        (BodyFormat.INSTANCES, True),
        (BodyFormat.TENSORS, False),
    ):
        reply = request_reply(ParsedRequest(form, (PHOTO, PHOTO), explained), results, MODEL)
        assert reply.status == status
        body = json.loads(reply.body)
        if form is BodyFormat.TENSORS and status != 200:
            assert list(body) == ["error"]
            assert body["error"]["code"] == status
            continue
        if form is BodyFormat.TENSORS:
            text = [json.loads(one) for one in body["outputs"][2]["data"]]
            assert [one.get("caption", "") for one in text] == body["outputs"][0]["data"]
        else:
            text = body["explanations" if explained else "predictions"]
        failed = [isinstance(result, Exception) for result in results]
        assert ["error" in one for one in text] == failed


def test_a_defect_in_describing_one_photo_costs_the_others_nothing(caplog: pytest.LogCaptureFixture) -> None:
    results = [PhotoResult((), TIMINGS), RESULT]  # no caption: the search never leaves that
    request = ParsedRequest(BodyFormat.INSTANCES, (PHOTO, PHOTO))
    reply = request_reply(request, results, MODEL)
    first, second = json.loads(reply.body)["predictions"]
    assert (reply.status, first["error"]["code"], second) == (200, 500, SAID)
    assert "IndexError" in caplog.text


def test_tensors_come_back_as_they_were_asked_for() -> None:
    results: list[PhotoResult | Exception] = [RESULT, NotAnImage("no")]
    both = ParsedRequest(BodyFormat.TENSORS, (PHOTO, PHOTO), id="7")
    body = json.loads(request_reply(both, results, MODEL).body)
    caption, score, reply = body.pop("outputs")
    assert body == {"model_name": "captioner", "model_version": "1.0", "id": "7"}
    assert caption == {"name": "caption", "datatype": "BYTES", "shape": [2], "data": ["a dog", ""]}
    assert score == {"name": "score", "datatype": "FP32", "shape": [2], "data": [-0.9, 0.0]}
    assert (reply["name"], reply["datatype"], reply["shape"]) == ("reply", "BYTES", [2])
    assert json.loads(reply["data"][0]) == SAID
    some = replace(both, outputs=("score",))
    (output,) = json.loads(request_reply(some, results, MODEL).body)["outputs"]
    assert output["name"] == "score"


def test_half_a_surrogate_pair_comes_back_as_json() -> None:
    request = ParsedRequest(BodyFormat.TENSORS, (PHOTO,), id="\ud800")
    assert json.loads(request_reply(request, [RESULT], MODEL).body)["id"] == "\ud800"
