"""A JSON body → its photos. Tensors, the third format of JSON, are read in `handler.parse.tensors`.

    {"image": "<base64>", "options": {"num_beams": 3}}             one photo
    {"instances": [{"image": "<base64>"}, …], "options": {…}}      several; version 1 of KServe's protocol

Fields may stand in `options` or beside it, once. Those beside `instances` hold for all of them.
"""

import json
from collections.abc import Mapping
from typing import Any

from handler.errors import RequestError
from handler.parse.base64_photo import decoded_photo
from handler.parse.check import check_count, photo_request
from handler.parse.fields import check_name, merge
from handler.photo import BodyFormat, ParsedRequest, PhotoRequest
from handler.policy import Policy

IMAGE_KEYS = ("image", "data", "b64")
HOW_TO_SEND = '{"image": "<base64>"}, {"instances": […]} or {"inputs": […]} is needed'


def decoded(value: object, where: str) -> object | None:
    """Return the JSON that a value is, decoded by TorchServe or not; None where it is something else.

    Raises RequestError naming `where` for JSON that is broken.
    """
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


def parse(document: object, defaults: Mapping[str, object], policy: Policy) -> ParsedRequest:
    """Read the decoded JSON of a body that is no tensors.

    `defaults` are fields that those of the body replace. Raises RequestError or OptionError for what
    concerns the whole request.
    """
    if not isinstance(document, dict):
        raise RequestError(f"the JSON body is no object: {HOW_TO_SEND}")
    if "instances" not in document:
        return ParsedRequest(BodyFormat.SINGLE, (object_request(document, defaults, "", policy),))
    shared = {name: value for name, value in document.items() if name != "instances"}
    for key in IMAGE_KEYS:
        if key in shared:
            raise RequestError("is given beside instances: put it in one of them", key)
    fields = {**defaults, **fields_of(shared, "")}
    instances = document["instances"]
    if not isinstance(instances, list) or not instances:
        raise RequestError("is no list of one photo or more", "instances")
    check_count("instances", len(instances), policy)
    photos = [
        instance_request(instance, fields, f"instances[{index}]", policy)
        for index, instance in enumerate(instances)
    ]
    return ParsedRequest(BodyFormat.INSTANCES, tuple(photos))


def instance_request(
    instance: object, fields: Mapping[str, object], where: str, policy: Policy
) -> PhotoRequest | Exception:
    """Read one instance: an object as in the body of one photo, or the bare base64."""
    try:
        if isinstance(instance, str):
            return photo_request(decoded_photo(instance, where), fields, where, policy)
        if not isinstance(instance, dict):
            raise RequestError("is neither an object with an image nor base64", where)
        return object_request(instance, fields, where, policy)
    except Exception as error:  # a defect, too, costs the other instances nothing
        return error


def object_request(
    raw: Mapping[str, Any], defaults: Mapping[str, object], where: str, policy: Policy
) -> PhotoRequest:
    """Read an object with a photo; raises RequestError or OptionError."""
    given = [key for key in IMAGE_KEYS if key in raw]
    if not given:
        raise RequestError(f"no photo in {where or 'the JSON body'}: {HOW_TO_SEND}")
    if len(given) > 1:
        raise RequestError(f"{' and '.join(given)} are both given: one photo is needed", where or None)
    fields = fields_of({key: value for key, value in raw.items() if key not in given}, where)
    place = dotted(where, given[0])
    photo = decoded_photo(raw[given[0]], place)
    return photo_request(photo, {**defaults, **fields}, place, policy)


def fields_of(raw: Mapping[str, Any], where: str) -> dict[str, object]:
    """Collect the fields of an object that stand in it and in its `options`."""
    fields: dict[str, object] = {}
    for name, value in raw.items():
        if name != "options":
            check_name(name, (*IMAGE_KEYS, "instances", "options"))
            fields[name] = value
    if "options" in raw:
        merge(fields, raw["options"], dotted(where, "options"))
    return fields


def dotted(where: str, name: str) -> str:
    """Name a part of a part."""
    return f"{where}.{name}" if where else name
