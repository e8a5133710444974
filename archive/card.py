"""What a model card says of its weights: name, terms, data and recipe.

A card is the README.md of a checkpoint folder: front matter in YAML between two `---` lines, then Markdown.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

TERMS = ("license", "license_name", "license_link")
"""Fields of the front matter that state the terms, as the Hugging Face Hub reads them."""
UNSTATED = "not stated"
HEADING = re.compile(r"(#{1,6})\s+(.+?)\s*#*\s*")
FENCE = re.compile(r"\s*(```|~~~)")
LIMITS = re.compile(r"licen[cs]e\b.*|terms( of use)?", re.IGNORECASE)
DATA = re.compile(r"(training )?data(set)?s?", re.IGNORECASE)
RECIPE = re.compile(r"recipe|training procedure", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Card:
    """A model card, as far as it tells where weights are from; what it does not say is None or empty."""

    name: str | None = None  # its title
    terms: Mapping[str, str] = field(default_factory=dict)  # those of `TERMS` that it has
    limits: str | None = None  # its section on the licence, as it stands
    data: str | None = None  # its section on the data that the weights were trained on
    recipe: str | None = None  # its section on how they were trained

    @classmethod
    def of_folder(cls, folder: Path) -> "Card":
        """Read the card of a folder; one that is not there or cannot be read says nothing."""
        try:
            text = (folder / "README.md").read_text(encoding="utf-8")
        except (OSError, ValueError):
            return cls()
        matter, body = _parts(text)
        sections = _sections(body)
        title = next((heading for level, heading, _ in sections if level == 1), None)
        return cls(
            title,
            {name: str(matter[name]) for name in TERMS if matter.get(name)},
            _named(sections, LIMITS),
            _named(sections, DATA),
            _named(sections, RECIPE),
        )

    @property
    def licence(self) -> str:
        """The licence by its name, or "not stated"."""
        stated = self.terms.get("license", UNSTATED)
        return self.terms.get("license_name", UNSTATED) if stated == "other" else stated


def _parts(text: str) -> tuple[Mapping[str, object], str]:
    """Split a card into front matter, empty where there is none, and Markdown."""
    try:
        before, matter, body = text.split("---\n", 2)
        fields = yaml.safe_load(matter)
    except (ValueError, yaml.YAMLError):
        return {}, text
    return (fields, body) if not before and isinstance(fields, dict) else ({}, text)


def _sections(body: str) -> list[tuple[int, str, str]]:
    """Cut Markdown at its headings → level, heading, and all up to the next one of that level or above."""
    lines = body.splitlines()
    starts: list[tuple[int, int, str]] = []  # line, level, heading
    fenced = False
    for number, line in enumerate(lines):
        if FENCE.match(line):
            fenced = not fenced
        elif not fenced and (found := HEADING.fullmatch(line)):
            starts.append((number, len(found[1]), found[2]))
    sections = []
    for index, (number, level, heading) in enumerate(starts):
        later = (line for line, other, _ in starts[index + 1 :] if other <= level)
        text = "\n".join(lines[number + 1 : next(later, len(lines))]).strip()
        sections.append((level, heading, text))
    return sections


def _named(sections: list[tuple[int, str, str]], name: re.Pattern[str]) -> str | None:
    """Return the first section whose heading is such a name, where it holds anything."""
    texts = (text for _, heading, text in sections if name.fullmatch(heading))
    return next(texts, None) or None
