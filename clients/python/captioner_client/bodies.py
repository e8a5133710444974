"""Photos and what is asked of them → the bodies of requests, as httpx2 takes them."""

import json
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from captioner_client.errors import PhotoUnreadable
from captioner_client.options import Options

Photo = bytes | PathLike[str]
"""An encoded photo, or the path of one."""

MOST_PHOTOS = 8
"""`max_photos` of the archive that ships."""
MOST_BYTES = 20_000_000
"""Of the photos of a request, as base64: less than the server's `max_request_size`, 22,020,096."""


def encoded(photo: Photo) -> bytes:
    """Return a photo's bytes; raises PhotoUnreadable."""
    if isinstance(photo, bytes):
        return photo
    try:
        return Path(photo).read_bytes()
    except OSError as error:
        raise PhotoUnreadable(f"{photo} cannot be read: {error.strerror}") from None


def groups(photos: Iterable[Photo], most: int) -> Iterator[list[bytes | PhotoUnreadable]]:
    """Read photos, and divide them into groups that fit in a request, in order."""
    group: list[bytes | PhotoUnreadable] = []
    size = 0
    for photo in photos:
        one: bytes | PhotoUnreadable
        try:
            one = encoded(photo)
        except PhotoUnreadable as error:
            one = error
        more = 0 if isinstance(one, PhotoUnreadable) else (len(one) + 2) // 3 * 4
        if group and (len(group) == most or size + more > MOST_BYTES):
            yield group
            group, size = [], 0
        group.append(one)
        size += more
    if group:
        yield group


def asked(heatmaps: bool, options: Options) -> dict[str, object]:
    """Return the fields of a request: options, and whether heatmaps are wanted."""
    return {**options, "explain": True} if heatmaps else {**options}


def form(photo: bytes, fields: Mapping[str, object]) -> dict[str, Any]:
    """Write one photo as multipart, which takes no more room than the photo itself."""
    parts: dict[str, object] = {"image": ("photo", photo, "application/octet-stream")}
    if fields:
        parts["options"] = (None, document(fields), "application/json")
    return {"files": parts}


def instances(photos: Sequence[bytes], fields: Mapping[str, object]) -> dict[str, Any]:
    """Write several photos as JSON, with what is asked of all of them."""
    body = document({"instances": [b64encode(photo).decode() for photo in photos], "options": fields})
    return {"content": body, "headers": {"Content-Type": "application/json"}}


def document(value: Mapping[str, object]) -> bytes:
    """Write JSON; raises ValueError for a number that it cannot hold."""
    return json.dumps(value, allow_nan=False).encode()
