"""A JSON body → its photos. Tensors, the third form of JSON, are read in `kserve`.

    {"image": "<base64>", "options": {"num_beams": 3}}             one photo
    {"instances": [{"image": "<base64>"}, …], "options": {…}}      several; version 1 of KServe's protocol

Fields may stand in `options` or beside it, once. Those beside `instances` hold for all of them.
"""

from collections.abc import Mapping
from typing import Any

from handler import photos
from handler.entries import Entry, Form, Request, check_count
from handler.errors import RequestError
from handler.fields import check_name, merge

IMAGE_KEYS = ("image", "data", "b64")
HOW_TO_SEND = '{"image": "<base64>"}, {"instances": […]} or {"inputs": […]} is needed'


def parse(document: object, defaults: Mapping[str, object], most: int) -> Request:
    """Read the decoded JSON of a body with at most `most` photos.

    `defaults` are fields that those of the body replace. Raises RequestError for what concerns
    the whole request.
    """
    if not isinstance(document, dict):
        raise RequestError(f"the JSON body is no object: {HOW_TO_SEND}")
    if "instances" not in document:
        return Request(Form.SINGLE, (entry(document, defaults, ""),))
    shared = {name: value for name, value in document.items() if name != "instances"}
    for key in IMAGE_KEYS:
        if key in shared:
            raise RequestError("is given beside instances: put it in one of them", key)
    fields = {**defaults, **fields_of(shared, "")}
    instances = document["instances"]
    if not isinstance(instances, list) or not instances:
        raise RequestError("is no list of one photo or more", "instances")
    check_count("instances", len(instances), most)
    return Request(
        Form.INSTANCES,
        tuple(attempt(instance, fields, f"instances[{index}]") for index, instance in enumerate(instances)),
    )


def attempt(instance: object, fields: Mapping[str, object], where: str) -> Entry | RequestError:
    """Read one instance: an object as in the body of one photo, or the bare base64."""
    try:
        if isinstance(instance, str):
            return Entry(photos.from_json(instance, where), fields, where)
        if not isinstance(instance, dict):
            raise RequestError("is neither an object with an image nor base64", where)
        return entry(instance, fields, where)
    except RequestError as error:
        return error


def entry(raw: Mapping[str, Any], defaults: Mapping[str, object], where: str) -> Entry:
    """Read an object with a photo; raises RequestError."""
    given = [key for key in IMAGE_KEYS if key in raw]
    if not given:
        raise RequestError(f"no photo in {where or 'the JSON body'}: {HOW_TO_SEND}")
    if len(given) > 1:
        raise RequestError(f"{' and '.join(given)} are both given: one photo is needed", where or None)
    fields = fields_of({key: value for key, value in raw.items() if key not in given}, where)
    place = dotted(where, given[0])
    return Entry(photos.from_json(raw[given[0]], place), {**defaults, **fields}, place)


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
