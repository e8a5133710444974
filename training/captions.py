"""Captions in COCO format: one JSON file per split beside a folder of photos."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from training.errors import DataError

IMAGES = "images"  # folder of the photos, in the data folder
SIDED = re.compile(r"\b(left|right)\b")
Field = TypeVar("Field")

SHOWN = 5  # names listed in an error before "and N more"


@dataclass(frozen=True)
class CaptionSet:
    """The photos of one split and their captions, as written; photos without captions are left out."""

    images: Path  # the folder that the names are in
    ids: tuple[int, ...]  # COCO image ids
    names: tuple[str, ...]
    captions: tuple[tuple[str, ...], ...]  # at least one for each photo


def caption_file(folder: Path, split: str) -> Path:
    """Where a split's captions lie in a data folder."""
    return folder / f"captions_{split}.json"


def read_captions(folder: Path, split: str) -> CaptionSet:
    """Read and check one split of a data folder.

    Raises DataError naming the file and the field: unreadable JSON, a missing or ill-typed field,
    an empty caption, a caption of an unknown photo, a photo that is not in the folder.
    """
    path = caption_file(folder, split)
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    names: dict[int, str] = {}
    for index, image in enumerate(_list(path, raw, "images")):
        where = f"images[{index}]"
        names[_field(path, where, image, "id", int)] = _field(path, where, image, "file_name", str)
    captions: dict[int, list[str]] = {photo: [] for photo in names}
    for index, annotation in enumerate(_list(path, raw, "annotations")):
        where = f"annotations[{index}]"
        photo = _field(path, where, annotation, "image_id", int)
        caption = _field(path, where, annotation, "caption", str)
        if photo not in names:
            raise DataError(f"{path}: {where}.image_id is {photo}, which no entry of images has")
        if not normalise(caption):
            raise DataError(f"{path}: {where}.caption is empty")
        captions[photo].append(caption)
    used = [photo for photo in names if captions[photo]]
    if not used:
        raise DataError(f"{path}: annotations holds no caption")
    images = folder / IMAGES
    if missing := [names[photo] for photo in used if not (images / names[photo]).is_file()]:
        more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        raise DataError(f"{path}: images not found in {images}: {', '.join(missing[:SHOWN])}{more}")
    return CaptionSet(
        images=images,
        ids=tuple(used),
        names=tuple(names[photo] for photo in used),
        captions=tuple(tuple(captions[photo]) for photo in used),
    )


def normalise(caption: str) -> str:
    """Lower case, single spaces, no final period, no space before punctuation.

    Scores do not see case and punctuation (pycocoevalcap's tokenizer drops both), and a small
    vocabulary has better things to tell apart than "A" and "a".
    """
    text = " ".join(caption.lower().split())
    text = re.sub(r" (?=[,.;:!?']|n't\b)", "", text)
    return text.rstrip(". ")


def may_be_mirrored(captions: tuple[str, ...]) -> bool:
    """Tell whether a mirrored photo still fits its captions: none of them says left or right."""
    return not any(SIDED.search(caption.lower()) for caption in captions)


def _list(path: Path, raw: object, name: str) -> list[Any]:
    value = raw.get(name) if isinstance(raw, dict) else None
    if not isinstance(value, list):
        raise DataError(f"{path}: field {name} is missing or no list")
    return value


def _field(path: Path, where: str, entry: object, name: str, kind: type[Field]) -> Field:
    value = entry.get(name) if isinstance(entry, dict) else None
    if not isinstance(value, kind):
        raise DataError(f"{path}: field {where}.{name} is missing or no {kind.__name__}")
    return value
