"""CIDEr-D of sampled captions, in this process and fast enough to be the reward of every training step.

Vedantam et al., "CIDEr", 2015: n-grams of 1 to 4 words are weighed by tf-idf (section 4); CIDEr-D clips
their counts and punishes a wrong length, so that it cannot be gamed (section 6).
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

ORDERS = range(1, 5)
SIGMA = 6.0  # words; standard deviation of the Gaussian that punishes a wrong length
SCALE = 10.0

END = "</s>"
"""The end of a caption, counted as a word.

Without it, captions that break off ("… in front of a") get as much as whole ones, and sampling
finds that out.
"""

CLITIC = re.compile(r"(n't|'(?:s|re|ve|ll|d|m))\b")
WORD = re.compile(r"n't|'?\w+(?:[-.,/]\w+)*")

Words = Sequence[str]
Ngram = tuple[str, ...]


def words(caption: str) -> list[str]:
    """Lower case, without punctuation, clitics apart: what the PTB tokenizer of the scores makes of it."""
    return WORD.findall(CLITIC.sub(r" \1", caption.lower()))


@dataclass(frozen=True)
class Vector:
    """A caption as tf-idf weights of its n-grams."""

    weights: dict[Ngram, float]
    norms: tuple[float, ...]  # Euclidean, one for each order
    length: int  # words


class CiderD:
    """CIDEr-D against the references of a data set, whose document frequencies it counts."""

    def __init__(self, references: Iterable[Sequence[Words]]) -> None:
        """Take the references of every photo, as words."""
        self.references = [tuple(map(tuple, group)) for group in references]
        self.photos_with: Counter[Ngram] = Counter()
        for group in self.references:
            self.photos_with.update({ngram for reference in group for ngram in _ngrams(reference)})
        self.log_photos = math.log(len(self.references))

    def scores(self, photo: int, candidates: Iterable[Words]) -> npt.NDArray[np.float64]:
        """Score captions of one photo, each from 0 to SCALE."""
        truth = [self.vector(reference) for reference in self.references[photo]]
        made = map(self.vector, candidates)
        return np.array([SCALE * sum(_similarity(v, t) for t in truth) / len(truth) for v in made])

    def vector(self, caption: Words) -> Vector:
        """Weigh each n-gram by its count times log(photos / photos whose references have it)."""
        weights: dict[Ngram, float] = {}
        squares = [0.0] * len(ORDERS)
        for ngram, count in _ngrams(caption).items():
            weight = count * (self.log_photos - math.log(max(1, self.photos_with[ngram])))
            weights[ngram] = weight
            squares[len(ngram) - 1] += weight * weight
        return Vector(weights, tuple(map(math.sqrt, squares)), len(caption))


def _ngrams(caption: Words) -> Counter[Ngram]:
    return Counter(tuple(caption[i : i + n]) for n in ORDERS for i in range(len(caption) - n + 1))


def _similarity(made: Vector, truth: Vector) -> float:
    """Mean over the orders of the clipped cosine, times the penalty on the difference in length."""
    products = [0.0] * len(ORDERS)
    for ngram, weight in made.weights.items():
        other = truth.weights.get(ngram)
        if other is not None:
            products[len(ngram) - 1] += min(weight, other) * other
    cosines = [
        product / (one * other)
        for product, one, other in zip(products, made.norms, truth.norms, strict=True)
        if one and other
    ]
    penalty = math.exp(-((made.length - truth.length) ** 2) / (2 * SIGMA**2))
    return penalty * sum(cosines) / len(ORDERS)
