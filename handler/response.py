"""Captions or an error → status and JSON body of one reply."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Any

from handler.request import RequestError
from model.captioner import Caption
from model.errors import ImageTooLarge, NotAnImage
from model.options import BeamOptions

CLIENT_ERRORS: dict[type[Exception], tuple[HTTPStatus, str]] = {
    RequestError: (HTTPStatus.BAD_REQUEST, "bad_request"),
    ImageTooLarge: (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "image_too_large"),
    NotAnImage: (HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "not_an_image"),
}
"""Exceptions that are the client's doing → HTTP status and the error's `type`."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer: an HTTP status and a JSON body (UTF-8)."""

    status: HTTPStatus
    body: bytes


def caption_reply(captions: Sequence[Caption], model: Mapping[str, str]) -> Reply:
    """Build the reply for one photo from its captions, best first (at least one).

    Raises ValueError for a score that JSON cannot hold (NaN, infinity).
    """
    best = captions[0]
    return _reply(
        HTTPStatus.OK,
        {
            "caption": best.text,
            "score": best.score,
            "captions": [
                {
                    "caption": caption.text,
                    "score": caption.score,
                    "tokens": [{"text": token.text, "logprob": token.logprob} for token in caption.tokens],
                }
                for caption in captions
            ],
            "model": model,
        },
    )


def description_reply(model: Mapping[str, str], options: BeamOptions, runtime: Mapping[str, object]) -> Reply:
    """Build the reply to `GET /models/NAME?customized=true`: how captions are made here."""
    return _reply(HTTPStatus.OK, {"model": model, "options": asdict(options), "runtime": runtime})


def client_error_reply(error: Exception) -> Reply:
    """Build the reply for one of `CLIENT_ERRORS`; its message tells the client what to change."""
    status, kind = CLIENT_ERRORS[type(error)]
    return _error(status, kind, str(error))


def internal_error_reply() -> Reply:
    """Build the reply for everything else; the reason stays in the server's log."""
    return _error(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "internal_error",
        "captioning failed; the server's log has the reason",
    )


def _error(status: HTTPStatus, kind: str, message: str) -> Reply:
    # The code is in the body too: gRPC carries the body alone.
    return _reply(status, {"error": {"code": status.value, "type": kind, "message": message}})


def _reply(status: HTTPStatus, body: Mapping[str, Any]) -> Reply:
    return Reply(status, json.dumps(body, ensure_ascii=False, allow_nan=False).encode())
