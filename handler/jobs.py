"""A request's entries → jobs: photos decoded, wishes judged, costs shared out."""

import time
from dataclasses import dataclass

from PIL.Image import Image
from torch import Tensor

from handler.entries import Entry, Request
from handler.errors import RequestError
from handler.settings import Settings
from handler.wish import Wish, read_wish
from model.batch import milliseconds
from model.captioner import Captioner
from model.errors import ImageTooLarge, TooManyScans
from model.explain.bounds import GRADIENT_STEPS, ExplainBounds
from model.image import decode, to_tensor
from model.options import GenerationOptions

PICTURE_SIDE = 1024
"""Longest side in pixels of what is kept of a photo to draw heatmaps on."""
PICTURE_SHARE = 0.6
"""Part of a reply's bytes that pictures may take: base64 makes a third more of them."""


@dataclass(frozen=True, slots=True)
class Share:
    """What the explanation of one photo may cost."""

    bounds: ExplainBounds
    picture_bytes: int


@dataclass(frozen=True, slots=True)
class Job:
    """One photo, ready for the network."""

    pixels: Tensor  # preprocessed (3, height, width)
    wish: Wish
    decode: float  # ms
    size: tuple[int, int]  # width and height of the photo, upright
    picture: Image | None  # the photo, smaller perhaps, where it is to be explained
    share: Share


@dataclass(frozen=True, slots=True)
class Opened:
    """A request, and for each of its entries the job or the error that it is answered with."""

    request: Request
    jobs: tuple[Job | Exception, ...]


def prepare(
    request: Request, captioner: Captioner, defaults: GenerationOptions, settings: Settings
) -> Opened:
    """Judge and decode all entries of a request."""
    judged = [judge(entry, captioner, defaults, settings) for entry in request.entries]
    explained = sum(isinstance(one, Judged) and one.wish.explanation is not None for one in judged)
    share = share_of(settings, explained)
    jobs: list[Job | Exception] = []
    left = settings.max_pixels
    for one in judged:
        job = one if isinstance(one, Exception) else load(one, left, captioner, share)
        too_large = isinstance(job, ImageTooLarge) and not isinstance(job, TooManyScans)
        if too_large and left < settings.max_pixels:
            job = ImageTooLarge(f"the photos of a request may have {settings.max_pixels} pixels together")
        if isinstance(job, Job):
            left -= job.size[0] * job.size[1]
        jobs.append(job)
    return Opened(request, tuple(jobs))


@dataclass(frozen=True, slots=True)
class Judged:
    """An entry whose fields are allowed."""

    photo: bytes
    wish: Wish


def judge(
    entry: Entry | RequestError, captioner: Captioner, defaults: GenerationOptions, settings: Settings
) -> Judged | Exception:
    """Check the fields of an entry against this server and its model; the photo is not looked at."""
    if isinstance(entry, RequestError):
        return entry
    try:
        wish = read_wish(entry.fields, defaults, settings)
        captioner.check_options(wish.options, wish.prompt)
    except Exception as error:
        return error
    return Judged(entry.photo, wish)


def share_of(settings: Settings, explained: int) -> Share:
    """Divide what explanations may cost among a request's photos that are to be explained."""
    count = max(1, explained)
    passes = max(GRADIENT_STEPS, settings.explain.max_passes // count)
    return Share(
        ExplainBounds(settings.explain.max_words, passes, settings.explain_seconds),
        int(PICTURE_SHARE * settings.max_reply_bytes) // count,
    )


def load(judged: Judged, most: int, captioner: Captioner, share: Share) -> Job | Exception:
    """Decode a photo of at most `most` pixels and preprocess it."""
    began = time.perf_counter()
    try:
        photo = decode(judged.photo, most)
        pixels = to_tensor(photo, captioner.image_config)
        size, picture = photo.size, None
        if judged.wish.explanation is not None:
            photo.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
            picture = photo
    except Exception as error:
        return error
    return Job(pixels, judged.wish, milliseconds(began), size, picture, share)
