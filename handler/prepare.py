"""What is asked of a request's photos → the photos, checked against the model, decoded and preprocessed."""

import time
from collections.abc import Sequence
from dataclasses import replace

from handler.photo import PhotoRequest, PreparedPhoto, milliseconds
from handler.settings import Settings
from model.captioner import Captioner
from model.errors import ImageTooLarge, TooManyScans
from model.image import decode, to_tensor

PICTURE_SIDE = 1024
"""Longest side in pixels of what is kept of a photo to draw heatmaps on."""


def prepare(
    photos: Sequence[PhotoRequest | Exception], captioner: Captioner, settings: Settings
) -> list[PreparedPhoto | Exception]:
    """Prepare the photos of one request, which have `max_pixels` together.

    An error is the photo's own: OptionError for what the model has no room for, ImageError for
    what cannot be decoded.
    """
    checked = [check(photo, captioner) for photo in photos]
    explained = sum(isinstance(one, PhotoRequest) and one.explanation is not None for one in checked)
    prepared: list[PreparedPhoto | Exception] = []
    left = settings.max_pixels
    for one in checked:
        photo = one if isinstance(one, Exception) else load(one, left, captioner)
        too_large = isinstance(photo, ImageTooLarge) and not isinstance(photo, TooManyScans)
        if too_large and left < settings.max_pixels:
            photo = ImageTooLarge(f"the photos of a request may have {settings.max_pixels} pixels together")
        if isinstance(photo, PreparedPhoto):
            left -= photo.size[0] * photo.size[1]
            photo = replace(photo, sharers=max(1, explained))
        prepared.append(photo)
    return prepared


def check(photo: PhotoRequest | Exception, captioner: Captioner) -> PhotoRequest | Exception:
    """Check that the model has positions for what is asked; the photo is not looked at."""
    if isinstance(photo, Exception):
        return photo
    try:
        captioner.check_options(photo.options, photo.prompt)
    except Exception as error:
        return error
    return photo


def load(request: PhotoRequest, most: int, captioner: Captioner) -> PreparedPhoto | Exception:
    """Decode a photo of at most `most` pixels and preprocess it."""
    began = time.perf_counter()
    try:
        photo = decode(request.photo, most)
        pixels = to_tensor(photo, captioner.image_config)
        size, picture = photo.size, None
        if request.explanation is not None:
            photo.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
            picture = photo
    except Exception as error:
        return error
    return PreparedPhoto(request, pixels, size, milliseconds(began), picture)
