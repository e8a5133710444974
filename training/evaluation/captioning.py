"""Captions for every photo of a split, by an engine in this process."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from model.captioner import Captioner
from model.errors import ImageError
from model.search.options import GenerationOptions
from training.data.captions import CaptionSet
from training.progress import Progress

BATCH = 32  # photos that go through the encoder and the beam search together


@dataclass(frozen=True)
class Captioned:
    """What became of the photos of a split: each has a caption or a failure."""

    captions: dict[int, str]  # photo id → its best caption
    failures: dict[int, str]  # photo id → why there is none
    seconds: float  # that all of it took
    options: Mapping[str, Any] | None  # of the search; None where a server keeps them to itself


def caption_with_engine(captioner: Captioner, photos: CaptionSet, options: GenerationOptions) -> Captioned:
    """Caption every photo; those that cannot be read are among the failures."""
    captions: dict[int, str] = {}
    failures: dict[int, str] = {}
    started = time.monotonic()
    with progress(photos) as bar:
        for start in range(0, len(photos.names), BATCH):
            pixels = {}
            for photo, name in list(zip(photos.ids, photos.names, strict=True))[start : start + BATCH]:
                try:
                    pixels[photo] = captioner.preprocess((photos.images / name).read_bytes())
                except (ImageError, OSError) as error:
                    failures[photo] = f"cannot be read: {error}"
                bar.advance()
            made = captioner.caption(list(pixels.values()), options)
            captions |= {photo: best.text for photo, (best, *_) in zip(pixels, made, strict=True)}
    return Captioned(captions, failures, time.monotonic() - started, options.to_generation_config())


def progress(photos: CaptionSet) -> Progress:
    """Count photos as they are captioned."""
    return Progress("captioning", len(photos.names), "photo")
