"""Prepared photos of a whole batch → captions, and explanations where they are asked for.

Photos go through the encoder at once. Decoding is by groups that have options and prompt in
common. A photo gets what it would have got alone.

A sample with a seed goes through the whole network by itself: rounding depends on the size of a
batch, and in bfloat16 that was enough to draw another token in every third caption.
"""

import time
from collections import defaultdict
from collections.abc import Sequence

import torch

from handler.explain import explain
from handler.photo import PhotoRequest, PhotoResult, PreparedPhoto, Timings, milliseconds
from handler.settings import Settings
from model.captioner import Captioner
from model.search.options import GenerationOptions


def run(
    captioner: Captioner, photos: Sequence[PreparedPhoto], settings: Settings
) -> list[PhotoResult | Exception]:
    """Caption all photos together, then explain those that ask for it; an error is the photo's own."""
    return explain(captioner, photos, caption(captioner, photos), settings)


def caption(captioner: Captioner, photos: Sequence[PreparedPhoto]) -> list[PhotoResult | Exception]:
    """Search captions, but for photos whose client gave one.

    An error while decoding concerns one group, while encoding all that were encoded together.
    """
    results: dict[int, PhotoResult | Exception] = {}
    together: list[int] = []
    apart: list[list[int]] = []
    for index, photo in enumerate(photos):
        if given_caption(photo.request) is not None:
            results[index] = PhotoResult((), Timings(photo.decode))
        elif photo.request.options.do_sample and photo.request.options.seed is not None:
            apart.append([index])
        else:
            together.append(index)
    for members in [together, *apart]:
        found = caption_encoded_together(captioner, [photos[index] for index in members])
        results |= dict(zip(members, found, strict=True))
    return [results[index] for index in range(len(photos))]


def given_caption(request: PhotoRequest) -> str | None:
    """Return the caption that the client wants explained, where there is one."""
    return None if request.explanation is None else request.explanation.caption


def caption_encoded_together(
    captioner: Captioner, photos: Sequence[PreparedPhoto]
) -> list[PhotoResult | Exception]:
    """Encode all photos at once and decode them group by group."""
    if not photos:
        return []
    began = time.perf_counter()
    try:
        image_tokens = captioner.encode([photo.pixels for photo in photos])  # (B, S, C)
    except Exception as error:
        return [error] * len(photos)
    encode = milliseconds(began)
    groups: dict[tuple[GenerationOptions, str], list[int]] = defaultdict(list)
    for index, photo in enumerate(photos):
        groups[photo.request.options, photo.request.prompt].append(index)
    results: dict[int, PhotoResult | Exception] = {}
    for (options, prompt), members in groups.items():
        began = time.perf_counter()
        try:
            found = captioner.generate(image_tokens[torch.tensor(members)], options, prompt)
        except Exception as error:
            results |= dict.fromkeys(members, error)
            continue
        generate = milliseconds(began)
        for index, captions in zip(members, found, strict=True):
            results[index] = PhotoResult(captions, Timings(photos[index].decode, encode, generate))
    return [results[index] for index in range(len(photos))]
