"""One item of a TorchServe batch → the photos in it and what is asked of each.

TorchServe hands over a dict per request: `{"body": …}` for a raw body, one entry per field for
multipart and gRPC. A value is a bytearray, unless its content type made TorchServe decode it
first: text arrives as str, JSON as whatever it holds. JSON that is broken, or was not declared,
is still a bytearray; no photo begins with a brace.
"""

from collections.abc import Mapping
from dataclasses import replace

from handler.errors import RequestError
from handler.parse import json_body, tensors
from handler.parse.check import photo_request
from handler.parse.fields import check_name, from_headers, merge, value_of
from handler.parse.json_body import decoded
from handler.photo import BodyFormat, ParsedRequest
from handler.policy import Policy

PHOTO_FIELDS = ("image", "data", "body")
"""Where a photo may be. `body` is also TorchServe's own name for a raw body."""

TORCHSERVES_OWN = "model_name"
"""Comes along from `/invocations?model_name=…`, as the query of that URL does."""

HOW_TO_SEND = "send the photo as the raw request body or as the field `image`"


def parse_request(item: Mapping[str, object], headers: Mapping[str, object], policy: Policy) -> ParsedRequest:
    """Read one item with its headers, which are defaults for the fields of the body.

    Raises RequestError or OptionError for what concerns the whole request; in a list, the error of one
    photo takes its place.
    """
    explained = headers.get("explain") == "True"
    defaults = {"explain": explained, **from_headers(headers)}
    given = [name for name in PHOTO_FIELDS if name in item]
    if given == ["body"] and (document := decoded(item["body"], "body")) is not None:
        defaults |= form_fields(item)
        if isinstance(document, dict) and "inputs" in document:
            return tensors.parse(document, defaults, policy)
        return replace(json_body.parse(document, defaults, policy), explained=explained)
    fields = defaults | form_fields(item)
    photo = only_photo({name: item[name] for name in given})
    return ParsedRequest(BodyFormat.SINGLE, (photo_request(photo, fields, "image", policy),))


def only_photo(given: Mapping[str, object]) -> bytes:
    """Return the photo among the fields that may hold one; raises RequestError unless there is just one."""
    if not given:
        raise RequestError(f"no photo in the request: {HOW_TO_SEND}")
    if len(given) > 1:
        raise RequestError(f"{' and '.join(given)} are both given: {HOW_TO_SEND}, once")
    ((name, value),) = given.items()
    if not isinstance(value, bytes | bytearray):
        raise RequestError(f"the photo came as text instead of bytes: {HOW_TO_SEND}", name)
    if not value:
        raise RequestError(f"the photo is empty: {HOW_TO_SEND}", name)
    return bytes(value)


def form_fields(item: Mapping[str, object]) -> dict[str, object]:
    """Read the fields beside the photo, in an object `options` or not; raises RequestError."""
    fields: dict[str, object] = {}
    for name in sorted(item.keys() - {*PHOTO_FIELDS, "options", TORCHSERVES_OWN}):
        check_name(name, (*PHOTO_FIELDS, "options"))
        fields[name] = value_of(name, item[name])
    if "options" in item:
        merge(fields, decoded(item["options"], "options"), "options")
    return fields
