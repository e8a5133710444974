"""Requests as TorchServe hands them over, and what is asked of their photos."""

import base64
import json
from typing import Any

from handler.parse.check import photo_request
from handler.parse.request import parse_request
from handler.photo import ParsedRequest, PhotoRequest
from handler.policy import Policy
from model.search.options import GenerationOptions

PHOTO = b"\x89PNG and more"
BASE64 = base64.b64encode(PHOTO).decode()
POLICY = Policy(GenerationOptions(), max_photos=3)
Item = dict[str, object]


def parse(item: Item, headers: dict[str, object] | None = None) -> ParsedRequest:
    return parse_request(item, {"explain": "False"} | (headers or {}), POLICY)


def only(request: ParsedRequest) -> PhotoRequest:
    (photo,) = request.photos
    assert isinstance(photo, PhotoRequest)
    return photo


def asked(where: str = "image", **fields: object) -> PhotoRequest:
    """What is asked of PHOTO by these fields alone."""
    return photo_request(PHOTO, fields, where, POLICY)


def as_body(document: object) -> list[Item]:
    """The same JSON as TorchServe hands it over when it is declared, and when it is not."""
    text = json.dumps(document)
    return [{"body": document}, {"body": bytearray(text.encode())}, {"body": text}, {"body": f"\n {text}"}]


def tensor(**changes: object) -> dict[str, Any]:
    return {"name": "image", "shape": [1], "datatype": "BYTES", "data": [BASE64]} | changes
