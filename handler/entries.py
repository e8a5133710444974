"""What a request holds once it is read, whichever form it came in."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from handler.errors import RequestError


class Form(Enum):
    """The shape of a body, which the reply takes up."""

    SINGLE = "one photo"
    INSTANCES = "a list of photos, as in version 1 of KServe's protocol"
    INFER = "tensors, as in version 2 of KServe's protocol (Open Inference Protocol)"


@dataclass(frozen=True, slots=True)
class Entry:
    """One photo, encoded (JPEG, PNG, …), and the fields given for it, by the names in `fields`."""

    photo: bytes
    fields: Mapping[str, object]
    where: str = "image"  # which part of the request it is, for messages


@dataclass(frozen=True, slots=True)
class Request:
    """The entries of a request, in order; an error stands in the place of one that is wrong."""

    form: Form
    entries: tuple[Entry | RequestError, ...]
    explained: bool = False  # it came to a URL for explanations
    id: str | None = None  # of version 2 of KServe's protocol: comes back with the reply
    outputs: tuple[str, ...] = ()  # the same: output tensors that are asked for, all where none is named


def check_count(where: str, count: int, most: int) -> None:
    """Raise RequestError for more photos than a request may hold."""
    if count > most:
        raise RequestError(f"holds {count} photos; at most {most} are allowed in a request", where)
