"""Which words people would say of a photo: a linear classifier on features of an ImageNet network."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.image import ImageConfig
from model.network.conv_stem import ConvStem
from training.data.batches import unchanged
from training.data.photos import Photos
from training.progress import Progress
from training.recipe import check_integers, check_numbers
from training.stages.rewards import words

BATCH = 16  # photos whose features are computed together
ROWS = 256  # photos in a step of the classifier
LIMIT = 5.0  # standard deviations that a feature is cut off at


@dataclass(frozen=True)
class WordRecipe:
    """Numbers of the classifier's training."""

    photos_per_word: int  # words that are said of fewer photos are not learned
    epochs: int
    rate: float
    weight_decay: float
    dropout: float  # of features

    def __post_init__(self) -> None:
        check_integers(self, 1, "photos_per_word", "epochs")
        check_numbers(self, math.inf, "rate", "weight_decay")
        check_numbers(self, 1, "dropout")
        if self.rate == 0:
            raise ValueError("rate: a number above 0 is needed")
        if self.dropout == 1:
            raise ValueError("dropout: a number below 1 is needed")


@torch.inference_mode()
def features(stem: ConvStem, photos: Photos, image: ImageConfig, dtype: torch.dtype) -> Tensor:
    """Photos (N, size, size, 3) → (N, 2 · C): mean and maximum of each channel of the stem's last map.

    The maps of a photo and of its mirror image are averaged.
    """
    stem = stem.to(dtype).eval()
    found = []
    with Progress("looking at photos", len(photos), "photo") as progress:
        for start in range(0, len(photos), BATCH):
            pixels = unchanged(photos[start : start + BATCH], image).to(dtype)
            maps = (stem(pixels).float() + stem(pixels.flip(-1)).float()) / 2
            found.append(torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], dim=1))
            progress.advance(len(pixels))
    return torch.cat(found)


class WordClassifier:
    """Features of a photo → how likely each word of a vocabulary is to stand in a caption of it."""

    def __init__(
        self,
        photos: Tensor,
        captions: Sequence[Sequence[str]],
        weights: Tensor,
        allowed: Iterable[str],
        *,
        recipe: WordRecipe,
        seed: int,
    ) -> None:
        """Learn it from features (N, C) of photos with captions; photos are drawn by their `weights` (N,).

        The vocabulary are those of the `allowed` words that are said of enough photos.
        """
        said = [Counter(word for caption in group for word in set(words(caption))) for group in captions]
        photos_of = Counter(word for counts in said for word in counts)
        self.vocabulary = {
            word: index
            for index, word in enumerate(
                sorted(word for word in set(allowed) if photos_of[word] >= recipe.photos_per_word)
            )
        }
        shares = torch.zeros(len(captions), len(self.vocabulary))  # of a photo's captions that say the word
        for row, (counts, group) in enumerate(zip(said, captions, strict=True)):
            for word in counts.keys() & self.vocabulary.keys():
                shares[row, self.vocabulary[word]] = counts[word] / len(group)

        self.mean, self.deviation = photos.mean(0), photos.std(0) + 1e-3
        self.linear = nn.Linear(photos.shape[1], len(self.vocabulary))
        common = (shares * weights[:, None]).sum(0) / weights.sum()
        with torch.no_grad():
            self.linear.weight.zero_()
            self.linear.bias.copy_(torch.logit(common.clamp(1e-4, 1 - 1e-4)))
        self._learn(self._scaled(photos), shares, weights, recipe, seed)

    def _learn(self, x: Tensor, shares: Tensor, weights: Tensor, recipe: WordRecipe, seed: int) -> None:
        optimizer = torch.optim.AdamW(
            self.linear.parameters(), lr=recipe.rate, weight_decay=recipe.weight_decay
        )
        generator = torch.Generator().manual_seed(seed)
        kept = 1 - recipe.dropout
        with Progress("learning words", recipe.epochs, "epoch") as progress:
            for _ in range(recipe.epochs):
                order = torch.multinomial(weights, len(x), replacement=True, generator=generator)
                for rows in torch.split(order, ROWS):
                    mask = torch.rand(len(rows), x.shape[1], generator=generator) < kept
                    logits = self.linear(x[rows] * mask / kept)
                    loss = F.binary_cross_entropy_with_logits(logits, shares[rows], reduction="sum")
                    optimizer.zero_grad()
                    (loss / len(rows)).backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
                progress.advance()

    @torch.inference_mode()
    def probabilities(self, photos: Tensor) -> Tensor:
        """Features (N, C) → (N, words), from 0 to 1."""
        logits: Tensor = self.linear(self._scaled(photos))
        return logits.sigmoid()

    def _scaled(self, photos: Tensor) -> Tensor:
        return ((photos - self.mean) / self.deviation).clamp(-LIMIT, LIMIT)
