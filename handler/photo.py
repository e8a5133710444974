"""The three shapes of a photo on its way through a batch.

`PhotoRequest`: what is asked of it, from `handler.parse`. `PreparedPhoto`: ready for the network, from
`handler.prepare`. `PhotoResult`: what came out, from `handler.run`. Where a photo cannot go on, an
exception takes the place of the next shape, and `handler.reply` tells it to the client.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

from PIL.Image import Image
from torch import Tensor

from model.captioner import Caption
from model.explain.explanation import Method
from model.search.options import GenerationOptions

Form = Literal["png", "grid", "values"]


@dataclass(frozen=True, slots=True)
class ExplanationRequest:
    """How a caption is to be explained: the one given, else the best that is found."""

    method: Method = "occlusion"
    form: Form = "png"
    caption: str | None = None


@dataclass(frozen=True, slots=True)
class PhotoRequest:
    """What is asked of one photo, by values that are allowed on this server."""

    photo: bytes  # encoded (JPEG, PNG, …), not looked at yet
    options: GenerationOptions
    prompt: str = ""
    timings: bool = False
    explanation: ExplanationRequest | None = None
    where: str = "image"  # which part of the request the photo is, for messages


@dataclass(frozen=True, slots=True)
class PreparedPhoto:
    """A photo, decoded and preprocessed."""

    request: PhotoRequest
    pixels: Tensor  # (3, height, width), normalised
    size: tuple[int, int]  # width and height of the photo in pixels, upright
    decode: float  # ms that it took
    picture: Image | None = None  # the photo, smaller perhaps, where it is to be explained
    sharers: int = 1  # photos of its request, this one too, that share what explanations may cost


@dataclass(frozen=True, slots=True)
class Timings:
    """How long a photo took, in ms; 0 for what was not done.

    `encode` is the time of all photos that were encoded together, `generate` that of those decoded
    together.
    """

    decode: float
    encode: float = 0.0
    generate: float = 0.0
    explain: float = 0.0


@dataclass(frozen=True, slots=True)
class PhotoResult:
    """What came out for one photo: its captions, best first, and what the best was explained by."""

    captions: tuple[Caption, ...]  # none between the search and the explanation of a client's own
    timings: Timings
    explanation: Mapping[str, Any] | None = None  # the object that the reply holds


class BodyFormat(Enum):
    """The format of a request's body, which the reply takes up."""

    SINGLE = "one photo"
    INSTANCES = "a list of photos, as in version 1 of KServe's protocol"
    TENSORS = "tensors, as in version 2 of KServe's protocol (Open Inference Protocol)"


@dataclass(frozen=True, slots=True)
class ParsedRequest:
    """The photos of one request, in order, and what its reply has to look like."""

    format: BodyFormat
    photos: tuple[PhotoRequest | Exception, ...]
    explained: bool = False  # it came to a URL for explanations
    id: str | None = None  # of TENSORS: comes back with the reply
    outputs: tuple[str, ...] = ()  # of TENSORS: output tensors that are asked for, all where none is named


def milliseconds(since: float) -> float:
    """Return the time since a reading of `time.perf_counter`."""
    return 1000 * (time.perf_counter() - since)
