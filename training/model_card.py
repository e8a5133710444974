"""The model card that a run writes beside its weights: terms that are inherited, data, recipe.

Weights are under the terms of those that they started from. `archive` reads the card again, so that
the terms outlive any number of runs.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from archive.card import UNSTATED, Card
from model.checkpoint.weights import weight_files
from training.data.captions import CaptionSet
from training.data.folder import Data

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


@dataclass(frozen=True)
class Ancestor:
    """Weights that a run starts from: a checkpoint, or the encoder, decoder or stem of a new network."""

    role: str
    name: str
    card: Card
    files: tuple[Path, ...]

    @classmethod
    def of(cls, role: str, given: Path, place: Path) -> "Ancestor":
        """Describe what was `given` (file, folder or OWNER/NAME of the hub) and lies at `place` here.

        The card of a file is the README.md beside it. Raises CheckpointError for a folder without weights.
        """
        if place.is_file():
            return cls(role, given.name, Card.of_folder(place.parent), (place,))
        card = Card.of_folder(place)
        name = (card.name or place.resolve().name) if given.is_dir() else str(given)
        return cls(role, name, card, tuple(weight_files(place)))

    def terms(self) -> str:
        """Say the licence and, as a quotation, what the card says of it."""
        link = f" (`{self.card.terms['license_link']}`)" if "license_link" in self.card.terms else ""
        said = [f"> {line}".rstrip() for line in (self.card.limits or "").splitlines()]
        return "\n".join([f"{self.role} `{self.name}`: licence {self.card.licence}{link}", "", *said]).strip()

    def digests(self) -> str:
        """Name the files with the SHA-256 of each."""
        return "\n".join([f"- {self.role} `{self.name}`", *(f"  - {digest(file)}" for file in self.files)])


def digest(path: Path) -> str:
    """Name a file with its SHA-256."""
    with path.open("rb") as content:
        return f"`{path.name}`, SHA-256 `{hashlib.file_digest(content, 'sha256').hexdigest()}`"


def model_card(
    name: str, parts: Sequence[Ancestor], folder: Path, data: Data, recipe: "DataclassInstance"
) -> str:
    """Write the card of the run `name`, which starts from `parts` and learns from the data folder.

    The same run has the same card: there is no date in it.
    """
    chosen = "" if data.dev is None else f" {counted(data.dev[0])} chose among the weights of the run."
    learned = f"{counted(data.train[0])} of `{folder.resolve().name}`.{chosen}"
    started = "\n".join(part.digests() for part in parts)
    numbers = yaml.safe_dump(_without_none(asdict(recipe)), sort_keys=False).strip()
    return f"""{_beginning(name, parts, "its scores are in the run's `history.jsonl`")}
## Data

{learned}

## Recipe

{f"Started from{chr(10)}{chr(10)}{started}" if started else "Started from nothing."}

```yaml
{numbers}
```
"""


def average_card(name: str, parts: Sequence[Ancestor]) -> str:
    """Write the card of the mean of several checkpoints."""
    return f"""{_beginning(name, parts, "its scores were not taken")}
## Data

That of the checkpoints that it is the mean of.

## Recipe

The mean of the weights of

{chr(10).join(part.digests() for part in parts)}
"""


def _beginning(name: str, parts: Sequence[Ancestor], scores: str) -> str:
    matter = {**inherited(parts), "pipeline_tag": "image-to-text"}
    limits = "\n\n".join(part.terms() for part in parts) or "Nothing that it started from had terms."
    return f"""---
{yaml.safe_dump(matter, sort_keys=False).strip()}
---
# {name}

An image captioner. The program that trained it wrote this card; {scores}.

## Licence

The terms of what it started from hold for it, too. Those of its own data come on top: the program does not
know them.

{limits}
"""


def inherited(parts: Sequence[Ancestor]) -> dict[str, str]:
    """Join the parts' terms for the front matter: theirs where they agree, else all names as one."""
    stated = [dict(part.card.terms) for part in parts if part.card.terms]
    if not stated or all(terms == stated[0] for terms in stated):
        return stated[0] if stated else {}
    names = dict.fromkeys(part.card.licence for part in parts if part.card.terms)
    return {"license": "other", "license_name": "-and-".join(names).replace(UNSTATED, "other")}


def counted(captions: CaptionSet) -> str:
    """Count photos and captions, with a digest of both."""
    total = sum(map(len, captions.captions))
    return f"{len(captions.names):,} photos with {total:,} captions (`{captions.digest()}`)"


def _without_none(value: object) -> object:
    """Leave out what a recipe does not set; tuples become lists, as in its file."""
    if isinstance(value, dict):
        return {name: _without_none(one) for name, one in value.items() if one is not None}
    return [_without_none(one) for one in value] if isinstance(value, list | tuple) else value
