"""Each thing that a reply may not be is found, by replies written by hand."""

import json

import pytest

from fuzz.case import Case, Own, Reply
from fuzz.judge import fault, status_in

CAPTION = {"caption": "a dog"}
ERROR = {"error": {"code": 415, "type": "not_an_image", "message": "no"}}
JAVA = {"code": 500, "type": "ErrorDataDecoderException", "message": "no"}


def reply(status: int, body: object) -> Reply:
    return Reply(status, json.dumps(body).encode())


def infer(status: int, *answers: object) -> Reply:
    return reply(status, {"outputs": [{"name": "reply", "data": [json.dumps(answer) for answer in answers]}]})


@pytest.mark.parametrize(
    "right",
    [
        reply(200, CAPTION),
        reply(200, {"caption": ""}),
        reply(415, ERROR),
        reply(200, {"predictions": [ERROR, CAPTION]}),
        reply(415, {"explanations": [ERROR]}),
        infer(200, CAPTION, ERROR),
        infer(415, ERROR),
        reply(200, {"outputs": [{"name": "score", "data": [-1.0]}]}),
    ],
)
def test_what_may_be_is_right(right: Reply) -> None:
    assert fault(Case(), right) is None


@pytest.mark.parametrize(
    "wrong",
    [
        reply(500, ERROR),
        reply(503, {"code": 503, "type": "InternalServerException", "message": "Prediction failed"}),
        reply(301, CAPTION),
        reply(200, ERROR),
        reply(415, CAPTION),
        reply(400, ERROR),
        reply(200, {}),
        reply(200, [CAPTION]),
        reply(200, {"predictions": []}),
        reply(200, {"predictions": [ERROR]}),
        reply(415, {"predictions": [ERROR, CAPTION]}),
        reply(415, {"error": "no"}),
        reply(415, {"error": {"code": 415, "type": "", "message": "no"}}),
        infer(200, ERROR),
        reply(415, {"outputs": [{"name": "caption", "data": [""]}]}),
        Reply(200, b'{"caption": "a dog", "score": NaN}'),
        Reply(200, b"a dog"),
        Reply(413, b""),
        reply(500, JAVA),
    ],
)
def test_what_may_not_be_is_wrong(wrong: Reply) -> None:
    assert fault(Case(), wrong)


def test_the_status_of_a_reply_over_grpc_is_that_over_http() -> None:
    assert [status_in(one.body) for one in (reply(0, CAPTION), reply(0, ERROR))] == [200, 415]
    assert [status_in(one.body) for one in (infer(0, ERROR, CAPTION), infer(0, ERROR, ERROR))] == [200, 415]
    assert fault(Case(), Reply(status_in(b"a dog"), b"a dog"))


def test_the_front_ends_own_replies_are_right_where_they_are_expected() -> None:
    assert fault(Case(own=frozenset({Own.BAD_FORM})), reply(500, JAVA)) is None
    assert fault(Case(own=frozenset({Own.TOO_LARGE})), Reply(413, b"")) is None
    assert fault(Case(own=frozenset({Own.TOO_LARGE})), reply(500, JAVA))
    assert fault(Case(own=frozenset({Own.BAD_FORM})), Reply(413, b""))
    other = JAVA | {"type": "InternalServerException"}
    assert fault(Case(own=frozenset({Own.BAD_FORM})), reply(500, other))
