"""One item of a TorchServe batch → the photos in it and what is wanted of each.

TorchServe hands over a dict per request: `{"body": …}` for a raw body, one entry per field for
multipart and gRPC. A value is a bytearray, unless its content type made TorchServe decode it
first: text arrives as str, JSON as whatever it holds. JSON that is broken, or was not declared,
is still a bytearray; no photo begins with a brace.
"""

import json
from collections.abc import Mapping
from dataclasses import replace

from handler import json_body, kserve
from handler.entries import Entry, Form, Request
from handler.errors import RequestError
from handler.fields import check_name, from_headers, merge, value_of

IMAGE_FIELDS = ("image", "data", "body")
"""Where a photo may be. `body` is also TorchServe's own name for a raw body."""

TORCHSERVES_OWN = "model_name"
"""Comes along from `/invocations?model_name=…`, as the query of that URL does."""

HOW_TO_SEND = "send the photo as the raw request body or as the field `image`"


def parse_request(item: Mapping[str, object], headers: Mapping[str, object], photos: int) -> Request:
    """Read one item with its headers; at most `photos` photos are taken from it.

    Headers are defaults for the fields of the body. Raises RequestError for what concerns the
    whole request; in a list, an entry that is wrong is kept as its own error.
    """
    explained = headers.get("explain") == "True"
    defaults = {"explain": explained, **from_headers(headers)}
    given = [name for name in IMAGE_FIELDS if name in item]
    body = item.get("body")
    if given == ["body"] and (document := as_json(body, "body")) is not None:
        defaults |= form_fields(item)
        if isinstance(document, dict) and "inputs" in document:
            return kserve.parse(document, defaults, photos)
        return replace(json_body.parse(document, defaults, photos), explained=explained)
    fields = form_fields(item)
    if not given:
        raise RequestError(f"no photo in the request: {HOW_TO_SEND}")
    if len(given) > 1:
        raise RequestError(f"{' and '.join(given)} are both given: {HOW_TO_SEND}, once")
    value = item[given[0]]
    if not isinstance(value, bytes | bytearray):
        raise RequestError(f"the photo came as text instead of bytes: {HOW_TO_SEND}", given[0])
    if not value:
        raise RequestError(f"the photo is empty: {HOW_TO_SEND}", given[0])
    return Request(Form.SINGLE, (Entry(bytes(value), defaults | fields),))


def as_json(value: object, where: str) -> object | None:
    """Return the JSON that a value is, decoded by TorchServe or not; None where it is something else."""
    if not isinstance(value, bytes | bytearray | str):
        return value
    beginning = value[:64].encode(errors="replace") if isinstance(value, str) else bytes(value[:64])
    if not beginning.lstrip().startswith((b"{", b"[")):
        return None
    try:
        document: object = json.loads(value)
    except (ValueError, RecursionError) as error:
        reason = f": {error}" if isinstance(error, json.JSONDecodeError) else ""
        raise RequestError(f"is not valid JSON{reason}", where) from None
    return document


def form_fields(item: Mapping[str, object]) -> dict[str, object]:
    """Read the fields beside the photo, in an object `options` or not."""
    fields: dict[str, object] = {}
    for name in sorted(item.keys() - {*IMAGE_FIELDS, "options", TORCHSERVES_OWN}):
        check_name(name, (*IMAGE_FIELDS, "options"))
        fields[name] = value_of(name, item[name])
    if "options" in item:
        merge(fields, as_json(item["options"], "options"), "options")
    return fields
