"""Several data folders as one.

The new folder has COCO caption files and links to the photos. Its `dev` is that of the first folder that has
one. A folder without `dev` keeps a fifth of its photos out of `train`, in a split named after the folder,
unless all of them are to be trained on.
"""

import hashlib
import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from training.data.captions import IMAGES, CaptionSet, has_split, read_captions
from training.errors import DataError

logger = logging.getLogger("training.data.merge")

Entry = tuple[str, Sequence[str]]
"""A photo's name in the new folder, and its captions."""


def merge(folders: Sequence[Path], out: Path, whole: Sequence[Path] = ()) -> None:
    """Write `out`: `folders`, and behind them those whose photos are all trained on.

    Raises DataError for a folder that cannot be read, or two of one name.
    """
    folders = [*folders, *whole]
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        raise DataError(f"the folders need names of their own: {', '.join(names)}")
    if out.exists():
        raise DataError(f"{out} exists already")
    for folder, name in zip(folders, names, strict=True):
        if name in ("train", "dev") and folder not in whole and not has_split(folder, "dev"):
            raise DataError(f"{folder}: a folder without dev needs another name, which its own split gets")
    splits: dict[str, list[Entry]] = {"train": []}
    links: dict[str, Path] = {}
    for folder, name in zip(folders, names, strict=True):
        train = read_captions(folder, "train")
        links[name] = train.images.resolve()
        entries = list(entries_of(train, name))
        if folder in whole:
            pass
        elif has_split(folder, "dev"):
            dev = read_captions(folder, "dev")
            if dev.images.resolve() != links[name]:
                raise DataError(f"{folder}: photos of train and dev have to be in one folder")
            splits.setdefault("dev", list(entries_of(dev, name)))
        else:
            splits[name] = [entry for entry in entries if is_kept_out(entry[0])]
            entries = [entry for entry in entries if not is_kept_out(entry[0])]
        splits["train"] += entries
    (out / IMAGES).mkdir(parents=True)
    for name, images in links.items():
        (out / IMAGES / name).symlink_to(images, target_is_directory=True)
    for split, entries in splits.items():
        (out / f"captions_{split}.json").write_text(json.dumps(coco(entries)), encoding="utf-8")
        logger.info("%s: %d photos", split, len(entries))


def entries_of(captions: CaptionSet, folder: str) -> Iterable[Entry]:
    """List the photos of a split by their names in the new folder."""
    for name, group in zip(captions.names, captions.captions, strict=True):
        yield f"{folder}/{name}", group


def is_kept_out(name: str) -> bool:
    """Choose a fifth of the photos by the SHA-256 of their names, whatever others there are."""
    return hashlib.sha256(name.encode()).digest()[0] < 256 / 5


def coco(entries: Sequence[Entry]) -> dict[str, Any]:
    """Make the content of a file in COCO caption format."""
    images = [{"id": index, "file_name": name} for index, (name, _) in enumerate(entries)]
    annotations = [
        {"image_id": index, "caption": caption}
        for index, (_, group) in enumerate(entries)
        for caption in group
    ]
    numbered = [{"id": index, **annotation} for index, annotation in enumerate(annotations)]
    return {"images": images, "annotations": numbered}
