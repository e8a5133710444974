"""Captions and references → scores: the result that every way of evaluating ends with."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from training.data.captions import CaptionSet
from training.errors import ScoringError
from training.evaluation.captioning import Captioned
from training.evaluation.metrics import CiderScore, distinct_rate, mean_length, novel_rate, score_captions
from training.evaluation.spice import spice


@dataclass(frozen=True)
class Photo:
    """One photo of the split."""

    image_id: int
    file_name: str
    caption: str  # empty where there is none
    cider: float  # 0 to 10
    failure: str | None  # why there is no caption


@dataclass(frozen=True)
class Evaluation:
    """All that one evaluation found."""

    source: str  # what made the captions
    data: str
    split: str
    options: Mapping[str, Any] | None  # of the search; None where a server keeps them to itself
    scores: Mapping[str, float]
    photos: Sequence[Photo]

    @property
    def failed(self) -> list[Photo]:
        """Photos without a caption."""
        return [photo for photo in self.photos if photo.failure is not None]

    def write(self, path: Path) -> None:
        """Write everything as JSON, aside and renamed."""
        write_aside(path, json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")

    def table(self) -> str:
        """Scores as aligned lines."""
        width = max(len(name) for name in self.scores)
        return "\n".join(f"{name:<{width}}  {value:8.4f}" for name, value in self.scores.items())


def score(
    captioned: Captioned,
    photos: CaptionSet,
    *,
    source: str,
    data: Path,
    split: str,
    known: Sequence[str] = (),
    with_spice: bool = False,
) -> Evaluation:
    """Score captions against the references of a split.

    A photo without a caption counts as one with an empty caption, so that a captioner gains
    nothing by failing; distinct captions and words are those of real captions. `known` are the
    training captions, where there are some. Raises ScoringError where no photo has a caption.
    """
    made = list(captioned.captions.values())
    if not made:
        reason = next(iter(captioned.failures.values()), "there are none")
        raise ScoringError(f"none of {len(photos.ids)} photos got a caption; the first: {reason}")
    references = CiderScore(dict(zip(photos.ids, photos.captions, strict=True)))
    captions = {photo: captioned.captions.get(photo, "") for photo in photos.ids}
    found = score_captions(captions, references)
    scores = dict(found.whole)
    if with_spice:
        scores["SPICE"] = spice(references.truth, references.words(captions))
    scores["distinct captions"] = distinct_rate(made)
    if known:
        scores["novel captions"] = novel_rate(made, known)
    scores["words a caption"] = mean_length(made)
    scores["photos a second"] = len(photos.ids) / captioned.seconds
    results = [
        Photo(photo, name, captions[photo], found.cider[photo], captioned.failures.get(photo))
        for photo, name in zip(photos.ids, photos.names, strict=True)
    ]
    return Evaluation(source, str(data), split, captioned.options, scores, results)


def write_aside(path: Path, text: str) -> None:
    """Write a text file under another name and rename it, so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.aside")
    aside.write_text(text, encoding="utf-8", errors="replace")
    aside.replace(path)
