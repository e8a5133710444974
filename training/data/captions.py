"""The captions of one split of a data folder, whatever file they come in, and what they say.

A folder holds one of these, looked for in this order:

captions_SPLIT.json or .csv   a file for each split
dataset*.json                 Karpathy's file, which names the split of every photo
captions.json or .csv         one file for all; `split_of` divides its photos

Photos lie in `images/`, or beside the file.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from training.data.caption_files import Entry, Reader, read_coco, read_csv, read_karpathy
from training.data.problems import Problems
from training.errors import DataError

IMAGES = "images"  # folder of the photos, in the data folder
READERS: dict[str, Reader] = {".json": read_coco, ".csv": read_csv}

SIDED = re.compile(
    r"\b(left|right)(s|y|ies|most|wards?|hand(ed|er|ers)?|sides?)?\b|\b(anti|counter)?clockwise\b"
)
"""Words that a mirrored photo would make wrong."""


@dataclass(frozen=True)
class CaptionSet:
    """The photos of one split and their captions, as written; photos without captions are left out."""

    images: Path  # the folder that the names are in
    ids: tuple[int, ...]  # the file's own; where it has none, places in it
    names: tuple[str, ...]
    captions: tuple[tuple[str, ...], ...]  # at least one for each photo

    def digest(self) -> str:
        """Tell whether two sets are the same photos with the same captions."""
        return hashlib.sha256(repr((self.names, self.captions)).encode()).hexdigest()[:16]


def read_captions(folder: Path, split: str) -> CaptionSet:
    """Read and check one split of a data folder.

    Raises DataError with a line for everything that is wrong, naming file and field: a file that
    cannot be read, a missing or ill-typed field, a duplicate id, an empty caption, a caption of an
    unknown photo, a photo that is not there.
    """
    problems = Problems()
    found = read_split(folder, split, problems)
    problems.check()
    if not found.names:
        raise DataError(f"{folder}: split {split!r} holds no caption")
    return found


def has_split(folder: Path, split: str) -> bool:
    """Tell whether a data folder has photos of a split, be something wrong with them or not."""
    problems = Problems()
    path, _ = _source(folder, split)
    return path is not None and bool(read_split(folder, split, problems).names or len(problems))


def read_split(folder: Path, split: str, problems: Problems) -> CaptionSet:
    """Read one split, which may be empty; what is wrong is added to `problems` and left out."""
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder")
    path, reader = _source(folder, split)
    if path is None:
        names = f"captions_{split}.json, captions_{split}.csv, dataset*.json, captions.json or captions.csv"
        raise DataError(f"{folder} has no captions of split {split!r}: {names} is needed")
    entries = reader(path, problems)
    if path.stem == "captions":
        entries = [entry for entry in entries if split_of(entry.name) == split]
    used = [entry for entry in entries if entry.split in (None, split) and entry.captions]
    images = _images(folder, used)
    present = []
    for entry in used:
        if leads_out(entry.name):
            problems.add(
                "photos elsewhere", f"{path}: photo {entry.name} is a path that leads out of {folder}"
            )
        elif _is_there(images, entry):
            present.append(entry)
        else:
            problems.add("missing photos", f"{path}: photo {entry.name} is not in {images}")
    return CaptionSet(
        images=images,
        ids=tuple(entry.id for entry in present),
        names=tuple(entry.name for entry in present),
        captions=tuple(tuple(entry.captions) for entry in present),
    )


def split_of(name: str) -> str:
    """Divide photos where their file does not: a tenth, by the SHA-256 of the name, is `dev`.

    A photo keeps its split when others are added or taken away.
    """
    return "dev" if hashlib.sha256(name.encode(errors="surrogatepass")).digest()[0] < 256 / 10 else "train"


def normalise(caption: str) -> str:
    """Lower case, single spaces, no final period, no space before punctuation.

    Scores do not see case and punctuation (pycocoevalcap's tokenizer drops both), and a small
    vocabulary has better things to tell apart than "A" and "a".
    """
    text = " ".join(caption.lower().split())
    text = re.sub(r" (?=[,.;:!?']|n't\b)", "", text)
    return text.rstrip(". ")


def may_be_mirrored(captions: Sequence[str]) -> bool:
    """Tell whether a mirrored photo still fits its captions: none of them tells sides apart."""
    return not any(SIDED.search(caption.lower()) for caption in captions)


def _source(folder: Path, split: str) -> tuple[Path | None, Reader]:
    """Find the file of a split; None where the folder has none."""
    for suffix, reader in READERS.items():
        if (path := folder / f"captions_{split}{suffix}").is_file():
            return path, reader
    if any(folder.glob("captions_*.json")) or any(folder.glob("captions_*.csv")):
        return None, read_coco  # other splits have files of their own
    karpathy = sorted(folder.glob("dataset*.json"))
    if len(karpathy) > 1:
        raise DataError(f"{folder} has several dataset files: {', '.join(path.name for path in karpathy)}")
    if karpathy:
        return karpathy[0], read_karpathy
    for suffix, reader in READERS.items():
        if (path := folder / f"captions{suffix}").is_file():
            return path, reader
    return None, read_coco


def _images(folder: Path, entries: Sequence[Entry]) -> Path:
    """Tell which folder the names are in: `images/`, or the folder itself where it has more of them."""
    inside = folder / IMAGES
    if all(_is_there(inside, entry) for entry in entries):
        return inside
    found = {images: sum(_is_there(images, entry) for entry in entries) for images in (inside, folder)}
    return folder if found[folder] > found[inside] else inside


def _is_there(images: Path, entry: Entry) -> bool:
    try:
        return (images / entry.name).is_file()
    except OSError:  # a name that is too long to be one
        return False


def leads_out(name: str) -> bool:
    """Tell whether a name is a path to elsewhere: captions of strangers do not get to choose any file."""
    return Path(name).is_absolute() or ".." in Path(name).parts
