"""Everything that this package raises on purpose.

* CaptionerError
  x PhotoError            a photo has no caption; in `caption_many` it stands in place of the reply
    + PhotoUnreadable     its file cannot be read: nothing was sent
    + BadRequest          400  an empty photo, an unknown option
    + ImageTooLarge       413  more pixels or bytes than the server takes
    + NotAnImage          415  broken, or of a format that the server does not read
    + InvalidValue        422  an option's value is not allowed
    + ReplyTooLarge       422  the reply would be larger than the server sends
    + Busy                503  heatmaps were not begun for want of time, however often it was asked
    + InternalError       500  a defect of the server, whose log has the reason
  x KeyRefused            400, 401  no key, an expired one or a wrong one; a new one was not to be had
    + KeyUnreadable       there is no key where it should come from
  x ModelNotFound         404  the server has no such model, or not this version of it
  x Unavailable           503  no answer, however often it was asked
    + Unreachable         no connection, or one that broke; 502 of a proxy
    + TimedOut            no answer in time; 504 of a proxy
    + Overloaded          429, 503  too many requests, or no worker to take them
    + WorkerLost          500, 507  the worker died over the request
  x UnexpectedReply       what came is no reply of a captioning server
"""

from collections.abc import Mapping


class CaptionerError(Exception):
    """Any error of this package."""


class PhotoError(CaptionerError):
    """A photo has no caption, and would have none if it were sent again as it is.

    `status` is the server's (None where nothing was sent), `type` its name for the error, `field` the
    part of the request that is meant, where it says so.
    """

    def __init__(
        self, message: str, *, status: int | None = None, kind: str | None = None, field: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.type = kind
        self.field = field


class PhotoUnreadable(PhotoError):
    """The photo's file cannot be read; nothing was sent."""


class BadRequest(PhotoError):
    """The server does not understand the request: an empty photo, or an unknown option."""


class ImageTooLarge(PhotoError):
    """The photo has more pixels, scans or bytes than the server takes."""


class NotAnImage(PhotoError):
    """The photo is broken, or of a format that the server does not read."""


class InvalidValue(PhotoError):
    """An option's value is not allowed; the message says which values are."""


class ReplyTooLarge(PhotoError):
    """The reply would be larger than the server sends; the message says what to ask less of."""


class Busy(PhotoError):
    """The server had no time for heatmaps, however often it was asked."""


class InternalError(PhotoError):
    """A defect of the server; its log has the reason."""


class KeyRefused(CaptionerError):
    """The server refuses the key, and reading it again gave none that it takes."""


class KeyUnreadable(KeyRefused):
    """There is no key where it should come from."""


class ModelNotFound(CaptionerError):
    """The server has no such model, or not the version that was asked for."""


class Unavailable(CaptionerError):
    """The server gives no answer now; `retry_after` is how long it wants to be left alone, in s."""

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unreachable(Unavailable):
    """There is no connection to the server, or it broke before the reply was there."""


class TimedOut(Unavailable):
    """The server took longer than the time limit."""


class Overloaded(Unavailable):
    """The server has too many requests waiting, or no worker to take them."""


class WorkerLost(Unavailable):
    """The server's worker died over the request."""


class UnexpectedReply(CaptionerError):
    """What came is no reply of a captioning server; the message says what is amiss."""


PHOTO_ERRORS: Mapping[str, type[PhotoError]] = {
    "bad_request": BadRequest,
    "image_too_large": ImageTooLarge,
    "not_an_image": NotAnImage,
    "invalid_value": InvalidValue,
    "reply_too_large": ReplyTooLarge,
    "busy": Busy,
    "internal_error": InternalError,
}
"""The server's `type` of an error → its class; one that is not here is a plain PhotoError."""
