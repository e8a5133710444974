"""The files that captions come in: COCO caption format, CSV, and Karpathy's JSON of splits.

Each reader notes what is wrong with a file and returns what is right with it.
"""

import csv
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from training.data.problems import Problems

Field = TypeVar("Field")

SPLITS = {"train": "train", "restval": "train", "val": "dev", "test": "test"}
"""Split names of Karpathy's files → names here; `restval` is what he trains on besides `train`."""


@dataclass(frozen=True)
class Entry:
    """A photo with its captions, as a file lists them."""

    id: int
    name: str
    split: str | None = None  # where the file says it
    captions: list[str] = field(default_factory=list)


Reader = Callable[[Path, Problems], Sequence[Entry]]


def read_coco(path: Path, problems: Problems) -> list[Entry]:
    """Read COCO caption format (Chen et al., 2015), the one that pycocotools reads.

    `images` holds `id` and `file_name`, `annotations` holds `image_id` and `caption`; an
    annotation's own `id`, where it has one, occurs once.
    """
    raw = _read_json(path, problems)
    entries: dict[int, Entry] = {}
    names: set[str] = set()
    for index, image in enumerate(_list(path, raw, "images", problems)):
        where = f"{path}: images[{index}]"
        photo = _value(where, image, "id", int, problems)
        name = _value(where, image, "file_name", str, problems)
        if photo is None or name is None:
            continue
        if photo in entries:
            problems.add("duplicate ids", f"{where}.id is {photo}, which another image has, too")
            continue
        if name in names:
            problems.add("duplicate photos", f"{where}.file_name is {name}, which another image has, too")
        entries[photo] = Entry(photo, name)
        names.add(name)
    seen: set[int] = set()
    for index, annotation in enumerate(_list(path, raw, "annotations", problems)):
        where = f"{path}: annotations[{index}]"
        own = annotation.get("id") if isinstance(annotation, dict) else None
        if isinstance(own, int):
            if own in seen:
                problems.add("duplicate ids", f"{where}.id is {own}, which another annotation has, too")
            seen.add(own)
        of = _value(where, annotation, "image_id", int, problems)
        caption = _value(where, annotation, "caption", str, problems)
        if of is None or caption is None:
            continue
        if of not in entries:
            line = f"{where}.image_id is {of}, which no entry of images has"
            problems.add("captions of unknown images", line)
            continue
        _add(entries[of], caption, f"{where}.caption", problems)
    return list(entries.values())


def read_csv(path: Path, problems: Problems) -> list[Entry]:
    """Read a table with the columns `image` and `caption`, a caption a row; UTF-8, comma-separated."""
    entries: dict[str, Entry] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            if missing := {"image", "caption"} - set(rows.fieldnames or ()):
                line = f"{path}: column {' and '.join(sorted(missing))} is missing in the first line"
                problems.add("unreadable files", f"{line}, which {_found(rows.fieldnames)}")
                return []
            for row in rows:
                where = f"{path}, line {rows.line_num}"
                name = (row["image"] or "").strip()
                if not name:
                    problems.add("missing fields", f"{where}: image is empty")
                    continue
                entry = entries.setdefault(name, Entry(len(entries), name))
                _add(entry, row["caption"] or "", f"{where}: caption", problems)
    except (OSError, ValueError, csv.Error) as error:
        problems.add("unreadable files", f"{path} cannot be read: {error}")
    return list(entries.values())


def _found(columns: Sequence[str] | None) -> str:
    """Say what the first line of a table has instead of the columns that are needed."""
    if not columns:
        return "is empty"
    if len(columns) == 1 and re.search(r"[;\t|]", columns[0]):
        return f"has {columns[0]!r}: commas are needed between columns"
    return f"has {', '.join(columns)}"


def read_karpathy(path: Path, problems: Problems) -> list[Entry]:
    """Read `{"images": [{"filename", "split", "sentences": [{"raw"}]}]}` (Karpathy and Fei-Fei, 2015).

    A photo lies in `filepath` if the entry has one; its id is `imgid`, else its place in the list.
    """
    entries: dict[int, Entry] = {}
    names: set[str] = set()
    for index, image in enumerate(_list(path, _read_json(path, problems), "images", problems)):
        where = f"{path}: images[{index}]"
        name = _value(where, image, "filename", str, problems)
        split = _value(where, image, "split", str, problems)
        sentences = _value(where, image, "sentences", list, problems)
        if name is None or split is None or sentences is None:
            continue
        if split not in SPLITS:
            line = f"{where}.split is {split!r}: one of {', '.join(SPLITS)} is needed"
            problems.add("unknown splits", line)
            continue
        photo = image.get("imgid", index)
        if not isinstance(photo, int) or photo in entries:
            problems.add("duplicate ids", f"{where}.imgid is {photo!r}: an integer of its own is needed")
            continue
        name = str(Path(image["filepath"]) / name) if isinstance(image.get("filepath"), str) else name
        if name in names:
            problems.add("duplicate photos", f"{where}.filename is {name}, which another image has, too")
        names.add(name)
        entries[photo] = Entry(photo, name, SPLITS[split])
        for number, sentence in enumerate(sentences):
            place = f"{where}.sentences[{number}]"
            caption = _value(place, sentence, "raw", str, problems)
            if caption is not None:
                _add(entries[photo], caption, f"{place}.raw", problems)
    return list(entries.values())


def _add(entry: Entry, caption: str, where: str, problems: Problems) -> None:
    if not " ".join(caption.split()).strip(". "):
        problems.add("empty captions", f"{where} is empty")
        return
    try:
        caption.encode()
    except UnicodeEncodeError as error:  # half of a surrogate pair, which JSON can spell
        problems.add("broken captions", f"{where} is no text: {error.reason} at {error.start}")
        return
    entry.captions.append(caption)


def _read_json(path: Path, problems: Problems) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        problems.add("unreadable files", f"{path} cannot be read: {error}")
        return {"images": [], "annotations": []}


def _list(path: Path, raw: object, name: str, problems: Problems) -> list[Any]:
    value = raw.get(name) if isinstance(raw, dict) else None
    if isinstance(value, list):
        return value
    problems.add("missing fields", f"{path}: field {name} is missing or no list")
    return []


def _value(where: str, entry: object, name: str, kind: type[Field], problems: Problems) -> Field | None:
    value = entry.get(name) if isinstance(entry, dict) else None
    if isinstance(value, kind) and not isinstance(value, bool):
        return value
    problems.add("missing fields", f"{where}.{name} is missing or no {kind.__name__}")
    return None
