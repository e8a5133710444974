"""One request of the run: what is sent, and what TorchServe may answer in the handler's place."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

MODEL = "MODEL"
"""Stands for the model's name in a path."""
PREDICTIONS = f"/predictions/{MODEL}"


class Own(Enum):
    """A reply of TorchServe's front end, in Java, to what it cannot read; the handler never sees it."""

    TOO_LARGE = "413 with an empty body: more bytes than max_request_size"
    BAD_FORM = "500 with the name of an exception of Netty's decoder: a form that it cannot read"
    BAD_HEADERS = "400 of the type BadRequestException: headers that Netty does not take"

    @property
    def breaks_off(self) -> bool:
        """Whether the connection may be closed while the rest of the request is still on its way."""
        return self in (Own.TOO_LARGE, Own.BAD_HEADERS)


@dataclass(frozen=True, slots=True)
class Case:
    """A request over HTTP, or over gRPC where it has `inputs`."""

    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    path: str = PREDICTIONS
    inputs: Mapping[str, bytes] | None = None
    own: frozenset[Own] = frozenset()
    """Refusals of TorchServe's own that are right for this case."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back; over gRPC the status is the one that the body tells."""

    status: int
    body: bytes
