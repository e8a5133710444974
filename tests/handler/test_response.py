"""Reply bodies, compared with the interface that clients are promised."""

import json
import math
from http import HTTPStatus

import pytest

from handler.request import RequestError
from handler.response import caption_reply, client_error_reply, internal_error_reply
from model.captioner import Caption, Token
from model.errors import ImageTooLarge, NotAnImage

CAPTIONS = (
    Caption("a café", -0.5, (Token("a", -0.25), Token(" café", -0.75))),
    Caption("a dog", -0.9, (Token("a", -0.25), Token(" dog", -1.55))),
)


def test_captions_become_the_promised_object() -> None:
    reply = caption_reply(CAPTIONS, {"name": "captioner", "version": "1.0"})
    assert reply.status == HTTPStatus.OK
    assert json.loads(reply.body) == {
        "caption": "a café",
        "score": -0.5,
        "captions": [
            {
                "caption": "a café",
                "score": -0.5,
                "tokens": [{"text": "a", "logprob": -0.25}, {"text": " café", "logprob": -0.75}],
            },
            {
                "caption": "a dog",
                "score": -0.9,
                "tokens": [{"text": "a", "logprob": -0.25}, {"text": " dog", "logprob": -1.55}],
            },
        ],
        "model": {"name": "captioner", "version": "1.0"},
    }
    assert "café".encode() in reply.body  # readable as it is, not escaped


@pytest.mark.parametrize("score", [math.nan, -math.inf])
def test_a_number_that_json_lacks_is_refused(score: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        caption_reply((Caption("a", score, ()),), {})


@pytest.mark.parametrize(
    ("error", "code", "kind"),
    [
        (RequestError("two photos"), 400, "bad_request"),
        (ImageTooLarge("too many pixels"), 413, "image_too_large"),
        (NotAnImage("not decodable"), 415, "not_an_image"),
    ],
)
def test_what_the_client_did_wrong_is_said(error: Exception, code: int, kind: str) -> None:
    reply = client_error_reply(error)
    assert reply.status == code
    assert json.loads(reply.body) == {"error": {"code": code, "type": kind, "message": str(error)}}


def test_an_internal_error_points_to_the_log() -> None:
    reply = internal_error_reply()
    error = json.loads(reply.body)["error"]
    assert (reply.status, error["code"], error["type"]) == (500, 500, "internal_error")
    assert "log" in error["message"]
