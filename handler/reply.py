"""What came out for the photos of a request, or an error → status and JSON body of its reply."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Any

from handler.errors import DESCRIBED, INTERNAL, OK, outcome_of, status_of, told_to_clients
from handler.parse.tensors import OUTPUTS
from handler.photo import BodyFormat, ParsedRequest, PhotoRequest, PhotoResult
from model.captioner import Caption
from model.search.options import GenerationOptions
from model.words import words_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply: an HTTP status and a JSON body (UTF-8)."""

    status: HTTPStatus
    body: bytes
    outcome: str = OK  # of `handler.errors.OUTCOMES`


def request_reply(
    request: ParsedRequest, results: Sequence[PhotoResult | Exception], model: Mapping[str, str]
) -> Reply:
    """Answer a request in the format it came in; the results are those of its photos, in order.

    A request for several photos succeeds if one of them does; if none does, its status is that
    of the first one's error, which is the whole reply to tensors. Raises ValueError for a score
    that JSON cannot hold.
    """
    told = [photo_reply(photo, result) for photo, result in zip(request.photos, results, strict=True)]
    statuses, bodies = [status for status, _ in told], [body for _, body in told]
    status, outcome = HTTPStatus.OK, OK
    if HTTPStatus.OK not in statuses:
        status, outcome = statuses[0], bodies[0]["error"]["type"]
    if request.format is BodyFormat.SINGLE:
        (body,) = bodies
        return json_reply(status, body if "error" in body else {**body, "model": model}, outcome)
    if request.format is BodyFormat.INSTANCES:
        name = "explanations" if request.explained else "predictions"
        return json_reply(status, {name: bodies, "model": model}, outcome)
    if status is not HTTPStatus.OK:  # the tensors that were asked for may not tell why
        return json_reply(status, bodies[0], outcome)
    return json_reply(status, tensors_body(bodies, request, model))


def photo_reply(
    photo: PhotoRequest | Exception, result: PhotoResult | Exception
) -> tuple[HTTPStatus, dict[str, Any]]:
    """Describe what came out for one photo, or say what is wrong with it."""
    if isinstance(photo, Exception):
        return status_of(photo), error_body(photo, None)
    if isinstance(result, PhotoResult):
        try:
            return HTTPStatus.OK, photo_body(photo, result)
        except Exception as error:
            result = error
    return status_of(result), error_body(result, photo.where)


def photo_body(photo: PhotoRequest, result: PhotoResult) -> dict[str, Any]:
    """Describe one photo by its captions, best first (at least one)."""
    best = result.captions[0]
    body: dict[str, Any] = {
        "caption": best.text,
        "score": best.score,
        "captions": [caption_body(caption) for caption in result.captions],
    }
    if result.explanation is not None:
        body["explanation"] = result.explanation
    if photo.timings:
        body["timings"] = {name: round(value, 2) for name, value in asdict(result.timings).items()}
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


def tensors_body(
    photos: Sequence[Mapping[str, Any]], request: ParsedRequest, model: Mapping[str, str]
) -> dict[str, Any]:
    """Write what is said of the photos as tensors; one that failed has an empty caption and score 0."""
    columns: dict[str, list[Any]] = {
        "caption": [photo.get("caption", "") for photo in photos],
        "score": [photo.get("score", 0.0) for photo in photos],
        "reply": [json.dumps(photo, ensure_ascii=False, allow_nan=False) for photo in photos],
    }
    names = request.outputs or tuple(OUTPUTS)
    return {
        "model_name": model["name"],
        "model_version": model["version"],
        **({} if request.id is None else {"id": request.id}),
        "outputs": [
            {"name": name, "datatype": OUTPUTS[name], "shape": [len(photos)], "data": columns[name]}
            for name in names
        ],
    }


def description_reply(
    model: Mapping[str, str],
    origin: Mapping[str, object],
    options: GenerationOptions,
    limits: Mapping[str, object],
    runtime: Mapping[str, object],
) -> Reply:
    """Build the reply to `GET /models/NAME?customized=true`: how captions are made here."""
    body = {"model": model, **origin, "options": asdict(options), "limits": limits, "runtime": runtime}
    return json_reply(HTTPStatus.OK, body, DESCRIBED)


def error_reply(error: Exception) -> Reply:
    """Build the reply for a request that fails as a whole."""
    return json_reply(status_of(error), error_body(error, None), outcome_of(error))


def error_body(error: Exception, where: str | None) -> dict[str, Any]:
    """Say what is wrong, and with which field: that of the error, else `where`.

    The reason for what is not the client's doing goes to the server's log, and nothing else does.
    """
    known = told_to_clients(error)
    if known is None:
        logger.error("a request failed", exc_info=error)
    status, kind = known or INTERNAL
    message = str(error) if known else "captioning failed; the server's log has the reason"
    field = getattr(error, "field", None) or (where if known else None)
    # The code is in the body too: gRPC carries the body alone.
    body = {"code": status.value, "type": kind, "message": message}
    return {"error": body if field is None else {**body, "field": field}}


def json_reply(status: HTTPStatus, body: Mapping[str, Any], outcome: str = OK) -> Reply:
    """Encode; half a surrogate pair, which a client may have sent, comes back as its JSON escape."""
    text = json.dumps(body, ensure_ascii=False, allow_nan=False)
    return Reply(status, text.encode(errors="backslashreplace"), outcome)
