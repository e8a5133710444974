"""Captions that fit a photo by their words, from a text of many, and how much they agree.

Words are weighed by tf-idf; that the caption most like the other candidates is a good one is from Devlin
et al., "Exploring Nearest Neighbor Approaches for Image Captioning", 2015, section 3.2 ("consensus").
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from training.stages.rewards import words

PHOTOS = 256  # photos that are compared with all captions together


class CaptionIndex:
    """Many captions as vectors of their words."""

    def __init__(self, captions: Sequence[str]) -> None:
        """Count the words of all captions."""
        self.captions = captions
        self._words = [sorted(set(words(caption))) for caption in captions]
        self.counts = Counter(word for group in self._words for word in group)

    def rarity(self, word: str) -> float:
        """Inverse document frequency, in nats."""
        return math.log(len(self.captions) / self.counts[word])

    def best(
        self, probabilities: Tensor, vocabulary: Mapping[str, int], number: int
    ) -> tuple[Tensor, Tensor]:
        """Find for each photo the captions whose words it is likeliest to be described by.

        `probabilities` (N, words) are those of `vocabulary`, whose words are all in some caption. Returns
        cosines (N, number), the best first, and the captions' places (N, number). A word outside the
        vocabulary lengthens a caption's vector, so that captions of nothing but known words are preferred.
        """
        places, values, lengths = [], [], []
        for row, group in enumerate(self._words):
            lengths.append(math.sqrt(sum(self.rarity(word) ** 2 for word in group)) or 1.0)
            for word in group:
                if word in vocabulary:
                    places.append((row, vocabulary[word]))
                    values.append(self.rarity(word) / lengths[-1])
        matrix = torch.sparse_coo_tensor(
            torch.tensor(places).T,
            torch.tensor(values),
            (len(self.captions), len(vocabulary)),
            check_invariants=True,
        ).coalesce()
        rarities = torch.tensor([self.rarity(word) for word in vocabulary])
        wanted = torch.nn.functional.normalize(probabilities * rarities, dim=1)
        found = [
            torch.sparse.mm(matrix, part.T).topk(min(number, len(self.captions)), dim=0)
            for part in torch.split(wanted, PHOTOS)
        ]
        return torch.cat([part.values.T for part in found]), torch.cat([part.indices.T for part in found])


def consensus(captions: Sequence[str]) -> Tensor:
    """Mean cosine (n,), from 0 to 1, of each caption with all of them, by words and pairs of words."""
    counts = [Counter([*(said := words(caption)), *pairwise(said)]) for caption in captions]
    columns: dict[object, int] = {}
    for each in counts:
        for part in each:
            columns.setdefault(part, len(columns))
    vectors = torch.zeros(len(captions), len(columns))
    for row, each in enumerate(counts):
        for part, number in each.items():
            vectors[row, columns[part]] = number
    vectors = torch.nn.functional.normalize(vectors, dim=1)
    return vectors @ vectors.mean(0)
