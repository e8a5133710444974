"""HTTP responses → replies and errors."""

import json
from collections.abc import Mapping

import httpx2

from captioner_client.decoding import decoded
from captioner_client.errors import (
    PHOTO_ERRORS,
    BadRequest,
    Busy,
    CaptionerError,
    ImageTooLarge,
    KeyRefused,
    ModelNotFound,
    Overloaded,
    PhotoError,
    ReplyTooLarge,
    TimedOut,
    Unavailable,
    UnexpectedReply,
    Unreachable,
    WorkerLost,
)
from captioner_client.replies import Reply

KEY_ERROR = "InvalidKeyException"  # TorchServe's words, as are the next
WORKER_DIED = "Worker died."

TEMPORARY: Mapping[int, type[Unavailable]] = {
    429: Overloaded,
    502: Unreachable,
    503: Overloaded,
    504: TimedOut,
    507: WorkerLost,
}
"""Statuses of TorchServe, and of a proxy before it, that may be others at the next attempt."""
FINAL: Mapping[int, type[CaptionerError]] = {
    400: BadRequest,
    401: KeyRefused,
    404: ModelNotFound,
    413: ImageTooLarge,
}


def reply_of(response: httpx2.Response) -> Reply:
    """Read what came for one photo; raises its error, or that of the request."""
    return decoded(Reply, body_of(response), "reply")


def replies_of(response: httpx2.Response, count: int) -> list[Reply | PhotoError | None]:
    """Read what came for `count` photos, in order; raises the error of the request as a whole.

    None stands for a photo that may have a caption alone: pixels, the size of a reply and the time for
    heatmaps are bounded by request.
    """
    body = body_of(response)
    told = body.get("predictions")
    if not isinstance(told, list) or len(told) != count:
        raise UnexpectedReply(f"there are no {count} predictions in the reply")
    results: list[Reply | PhotoError | None] = []
    for place, one in enumerate(told):
        if not isinstance(one, dict):
            raise UnexpectedReply(f"predictions[{place}] is no object")
        result: Reply | PhotoError | None
        if "error" in one:
            result = photo_error(one["error"])
            if isinstance(result, ImageTooLarge | ReplyTooLarge | Busy):
                result = None
        else:
            result = decoded(Reply, {**one, "model": body.get("model")}, f"predictions[{place}]")
        results.append(result)
    return results


def body_of(response: httpx2.Response) -> dict[str, object]:
    """Return the body of a reply, be it that no photo has a caption; raises the error of the request."""
    try:
        body = json.loads(response.content)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        body = {}
    if "predictions" in body or response.status_code == httpx2.codes.OK:
        return body
    raise photo_error(body["error"]) if "error" in body else refusal(response, body)


def photo_error(told: object) -> PhotoError:
    """Return the captioner's own error."""
    if not isinstance(told, dict):
        raise UnexpectedReply("the error in the reply is no object")
    kind = str(told.get("type"))
    return PHOTO_ERRORS.get(kind, PhotoError)(
        str(told.get("message")), status=told.get("code"), kind=kind, field=told.get("field")
    )


def refusal(response: httpx2.Response, body: Mapping[str, object]) -> CaptionerError:
    """Return the error of TorchServe, or of a proxy before it."""
    status, said = response.status_code, str(body.get("message") or response.reason_phrase)
    message = f"{status}: {said}"
    if body.get("type") == KEY_ERROR:
        return KeyRefused(message)
    if said == WORKER_DIED:
        return WorkerLost(message)
    if status in TEMPORARY:
        return TEMPORARY[status](message, retry_after(response))
    kind = FINAL.get(status, UnexpectedReply)
    return kind(message, status=status) if issubclass(kind, PhotoError) else kind(message)


def retry_after(response: httpx2.Response) -> float:
    """Return the s that the server wants to be left alone (RFC 9110, 10.2.3); a date there counts as 0."""
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else 0.0


def failure(error: httpx2.TransportError, url: str) -> Unavailable:
    """Return what an error of the connection means."""
    reason = str(error) or type(error).__name__
    if isinstance(error, httpx2.TimeoutException) and not isinstance(error, httpx2.ConnectTimeout):
        return TimedOut(f"{url} gave no answer in time: {reason}")
    return Unreachable(f"no connection to {url}, or it broke: {reason}")
