"""Captions or an error → status and JSON body of one reply."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Any

from handler import kserve
from handler.entries import Entry, Form, Request
from handler.errors import Busy, ReplyTooLarge, RequestError
from model.captioner import Caption
from model.errors import ExplanationTimeout, ImageTooLarge, NotAnImage, OptionError
from model.options import GenerationOptions
from model.words import words_of

CLIENT_ERRORS: dict[type[Exception], tuple[HTTPStatus, str]] = {
    RequestError: (HTTPStatus.BAD_REQUEST, "bad_request"),
    ImageTooLarge: (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "image_too_large"),
    NotAnImage: (HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "not_an_image"),
    OptionError: (HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_value"),
    Busy: (HTTPStatus.SERVICE_UNAVAILABLE, "busy"),
    ExplanationTimeout: (HTTPStatus.SERVICE_UNAVAILABLE, "busy"),
    ReplyTooLarge: (HTTPStatus.UNPROCESSABLE_ENTITY, "reply_too_large"),
}
"""Exceptions that a client can do something about → HTTP status and the error's `type`."""


INTERNAL = (HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error")


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer: an HTTP status and a JSON body (UTF-8)."""

    status: HTTPStatus
    body: bytes


def photo_body(
    captions: Sequence[Caption], explanation: Mapping[str, Any] | None, timings: Mapping[str, float] | None
) -> dict[str, Any]:
    """Describe one photo by its captions, best first (at least one)."""
    best = captions[0]
    body: dict[str, Any] = {
        "caption": best.text,
        "score": best.score,
        "captions": [caption_body(caption) for caption in captions],
    }
    if explanation is not None:
        body["explanation"] = explanation
    if timings is not None:
        body["timings"] = {name: round(value, 2) for name, value in timings.items()}
    return body


def caption_body(caption: Caption) -> dict[str, Any]:
    """Describe one caption: its tokens, and its words with their places in the text."""
    return {
        "caption": caption.text,
        "score": caption.score,
        "tokens": [{"text": token.text, "logprob": token.logprob} for token in caption.tokens],
        "words": [
            {
                "text": word.text,
                "start": word.start,
                "end": word.end,
                "tokens": list(word.tokens),
                "logprob": word.logprob,
            }
            for word in words_of(caption)
        ],
    }


def request_reply(
    request: Request, answers: Sequence[Mapping[str, Any] | Exception], model: Mapping[str, str]
) -> Reply:
    """Answer a request in the form it came in; the answers are those of its photos, in order.

    A request for several photos succeeds if one of them does; if none does, its status is that
    of the first one's error, which is the whole reply to tensors. Raises ValueError for a score
    that JSON cannot hold.
    """
    bodies: list[dict[str, Any]] = []
    statuses = []
    for entry, answer in zip(request.entries, answers, strict=True):
        if isinstance(answer, Exception):
            statuses.append(status_of(answer))
            bodies.append(error_body(answer, entry.where if isinstance(entry, Entry) else None))
        else:
            statuses.append(HTTPStatus.OK)
            bodies.append(dict(answer))
    status = HTTPStatus.OK if HTTPStatus.OK in statuses else statuses[0]
    if request.form is Form.SINGLE:
        (body,) = bodies
        return json_reply(status, body if "error" in body else {**body, "model": model})
    if request.form is Form.INSTANCES:
        name = "explanations" if request.explained else "predictions"
        return json_reply(status, {name: bodies, "model": model})
    if status is not HTTPStatus.OK:  # the tensors that were asked for may not tell why
        return json_reply(status, bodies[0])
    return json_reply(status, kserve.body(bodies, request, model))


def description_reply(
    model: Mapping[str, str],
    origin: Mapping[str, object],
    options: GenerationOptions,
    limits: Mapping[str, object],
    runtime: Mapping[str, object],
) -> Reply:
    """Build the reply to `GET /models/NAME?customized=true`: how captions are made here."""
    body = {"model": model, **origin, "options": asdict(options), "limits": limits, "runtime": runtime}
    return json_reply(HTTPStatus.OK, body)


def error_reply(error: Exception) -> Reply:
    """Build the reply for a request that fails as a whole."""
    return json_reply(status_of(error), error_body(error, None))


def status_of(error: Exception) -> HTTPStatus:
    """Return the HTTP status of an error: that of `CLIENT_ERRORS`, else 500."""
    return (told_to_clients(error) or INTERNAL)[0]


def told_to_clients(error: Exception) -> tuple[HTTPStatus, str] | None:
    """Return status and type of an error that `CLIENT_ERRORS` has, or one that it is a case of."""
    return next((CLIENT_ERRORS[kind] for kind in type(error).__mro__ if kind in CLIENT_ERRORS), None)


def error_body(error: Exception, where: str | None) -> dict[str, Any]:
    """Say what is wrong, and with which field: that of the error, else `where`.

    The reason for what is not the client's doing stays in the server's log.
    """
    known = told_to_clients(error)
    status, kind = known or INTERNAL
    message = str(error) if known else "captioning failed; the server's log has the reason"
    field = getattr(error, "field", None) or (where if known else None)
    # The code is in the body too: gRPC carries the body alone.
    body = {"code": status.value, "type": kind, "message": message}
    return {"error": body if field is None else {**body, "field": field}}


def json_reply(status: HTTPStatus, body: Mapping[str, Any]) -> Reply:
    """Encode; half a surrogate pair, which a client may have sent, comes back as its JSON escape."""
    text = json.dumps(body, ensure_ascii=False, allow_nan=False)
    return Reply(status, text.encode(errors="backslashreplace"))
