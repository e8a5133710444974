"""What a client is told, with the HTTP status and the `type` that the reply gives it.

    RequestError        400 bad_request        the request cannot be understood
    ImageTooLarge       413 image_too_large    of the engine: too many pixels, or scans of a JPEG
    NotAnImage          415 not_an_image       of the engine
    OptionError         422 invalid_value      of the engine, and for all fields of a request
    ReplyTooLarge       422 reply_too_large    the reply would be larger than the server sends
    Busy                503 busy               an explanation was not begun
    ExplanationTimeout  503 busy               of the engine
    all else            500 internal_error     a defect: the reason is for the log alone

Those of the engine are in `model.errors`. An error concerns one photo where that is known, else one
request; it costs the others of the batch nothing.
"""

from collections.abc import Mapping
from http import HTTPStatus

from model.errors import ExplanationTimeout, ImageTooLarge, NotAnImage, OptionError


class RequestError(Exception):
    """The request cannot be understood; the message says what to send.

    `field` is the part of the request that is meant, where there is one.
    """

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message if field is None else f"{field}: {message}")
        self.field = field


class Busy(Exception):
    """An explanation was not begun, because others have taken the time that explanations may take."""


class ReplyTooLarge(Exception):
    """The reply would be larger than the server sends; the message says what to ask less of."""


CLIENT_ERRORS: Mapping[type[Exception], tuple[HTTPStatus, str]] = {
    RequestError: (HTTPStatus.BAD_REQUEST, "bad_request"),
    ImageTooLarge: (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "image_too_large"),
    NotAnImage: (HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "not_an_image"),
    OptionError: (HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_value"),
    ReplyTooLarge: (HTTPStatus.UNPROCESSABLE_ENTITY, "reply_too_large"),
    Busy: (HTTPStatus.SERVICE_UNAVAILABLE, "busy"),
    ExplanationTimeout: (HTTPStatus.SERVICE_UNAVAILABLE, "busy"),
}
"""Errors that a client can do something about → HTTP status and `type`."""

INTERNAL = (HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error")

OK, DESCRIBED = "ok", "described"
OUTCOMES = (OK, DESCRIBED, *dict.fromkeys(kind for _, kind in CLIENT_ERRORS.values()), INTERNAL[1])
"""How a request or a photo may end, as metrics and logs name it: well, as a description of the model, or
with an error's `type`."""


def told_to_clients(error: Exception) -> tuple[HTTPStatus, str] | None:
    """Return status and type of an error that `CLIENT_ERRORS` has, or one that it is a case of."""
    return next((CLIENT_ERRORS[kind] for kind in type(error).__mro__ if kind in CLIENT_ERRORS), None)


def status_of(error: Exception) -> HTTPStatus:
    """Return the HTTP status of an error: that of `CLIENT_ERRORS`, else 500."""
    return (told_to_clients(error) or INTERNAL)[0]


def outcome_of(error: Exception) -> str:
    """Return the `type` of an error: that of `CLIENT_ERRORS`, else "internal_error"."""
    return (told_to_clients(error) or INTERNAL)[1]
