"""One item of a TorchServe batch → the photo in it.

TorchServe hands over a dict per request: `{"body": …}` for a raw body, one entry per
field for multipart and gRPC. A value is a bytearray, unless its content type made
TorchServe decode it first: text arrives as str, JSON as whatever it holds.
"""

from collections.abc import Mapping
from dataclasses import dataclass

IMAGE_FIELDS = ("image", "data", "body")
"""Where a photo may be. `body` is also TorchServe's own name for a raw body."""

HOW_TO_SEND = "send the photo as the raw request body or as the field `image`"


class RequestError(Exception):
    """The request cannot be understood; the message tells the client what to send."""


@dataclass(frozen=True, slots=True)
class CaptionRequest:
    """What a client asks for."""

    image: bytes  # an encoded photo: JPEG, PNG, …


def parse_request(item: Mapping[str, object]) -> CaptionRequest:
    """Find the photo in one item; raises RequestError where there is not exactly one."""
    unknown = sorted(item.keys() - set(IMAGE_FIELDS))
    if unknown:
        raise RequestError(f"unknown field {unknown[0][:40]!r}: {HOW_TO_SEND}")
    given = [name for name in IMAGE_FIELDS if name in item]
    if not given:
        raise RequestError(f"no photo in the request: {HOW_TO_SEND}")
    if len(given) > 1:
        raise RequestError(f"{' and '.join(given)} are both given: {HOW_TO_SEND}, once")
    value = item[given[0]]
    if not isinstance(value, bytes | bytearray):
        raise RequestError(f"the photo came as text or JSON instead of bytes: {HOW_TO_SEND}")
    if not value:
        raise RequestError(f"the photo is empty: {HOW_TO_SEND}")
    return CaptionRequest(image=bytes(value))
