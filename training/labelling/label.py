"""Photos without captions get some: people's captions of other photos, chosen by what the photo shows.

photos with captions → which words fit a photo → candidates from a text → the captioner's choice → data folder

A captioner that learns from them has seen more kinds of photos than people described for it ("pseudo-labels",
Lee, 2013), in words that people wrote.
"""

import json
import logging
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from model.checkpoint.folder import Checkpoint, load_checkpoint
from model.network.config import ConvStemConfig
from model.network.conv_stem import ConvStem
from model.network.precision import best_dtype
from training.data.batches import caption_rows, unchanged
from training.data.caption_text import read_lines
from training.data.captions import IMAGES, leads_out, read_captions
from training.data.merge import coco
from training.data.photos import load_photos
from training.errors import DataError
from training.labelling.candidates import CaptionIndex, consensus
from training.labelling.words import WordClassifier, WordRecipe, features
from training.output import new_folder
from training.progress import Progress
from training.recipe import check_integers, check_numbers
from training.stages.rewards import words
from training.stages.self_critical import token_logprobs
from training.stages.start import load_part

logger = logging.getLogger("training.labelling")

LENGTHS = range(6, 17)  # words of a caption that may be chosen


@dataclass(frozen=True)
class LabelRecipe:
    """Numbers of the choice."""

    words: WordRecipe
    captions_per_word: int  # words in fewer captions of the text are not learned
    candidates: int  # captions that are looked at for each photo
    consensus_weight: float  # beside the captioner's mean log-probability of a token, in nats
    captions_per_photo: int
    kept: float  # share of the photos that get captions: those whose captions fit best
    seed: int

    def __post_init__(self) -> None:
        check_integers(self, 1, "captions_per_word", "candidates", "captions_per_photo")
        check_integers(self, 0, "seed")
        check_numbers(self, math.inf, "consensus_weight")
        check_numbers(self, 1, "kept")
        if self.captions_per_photo > self.candidates:
            raise ValueError("captions_per_photo: at most as many as candidates")
        if self.kept == 0:
            raise ValueError("kept: a number above 0 is needed")


def label(
    data: Path,
    photos: Path,
    texts: Sequence[Path],
    *,
    checkpoint: Path,
    stem: Path,
    recipe: LabelRecipe,
    cache: Path,
    out: Path,
) -> None:
    """Write the data folder `out` of photos with captions from `texts`.

    `data` is the folder that `checkpoint` was trained on; where its photos lie in folders, as those of
    `merge` do, each folder teaches as much as another. `photos` is a file of one photo's name a line, beside
    their `images/`.
    Raises DataError for what cannot be read, CheckpointError for a checkpoint that cannot be used.
    """
    if out.exists():
        raise DataError(f"{out} exists already")
    known, names = read_captions(data, "train"), read_names(photos)
    lines = (line for path in texts for line in read_lines(path) if len(words(line)) in LENGTHS)
    index = CaptionIndex(list(dict.fromkeys(lines)))
    dtype = best_dtype("cpu")
    captioner = load_checkpoint(checkpoint, dtype=dtype)
    vision = ConvStem(ConvStemConfig())
    load_part(vision, stem, "stem")

    size, images = captioner.image.size[0], photos.parent / IMAGES
    old = load_photos(known.images, known.names, size, cache, captioner.image.resample)
    new = load_photos(images, names, size, cache, captioner.image.resample)
    classifier = WordClassifier(
        features(vision, old, captioner.image, dtype),
        known.captions,
        balance(known.names),
        [word for word, number in index.counts.items() if number >= recipe.captions_per_word],
        recipe=recipe.words,
        seed=recipe.seed,
    )
    logger.info("%d words, %d captions to choose from", len(classifier.vocabulary), len(index.captions))
    probabilities = classifier.probabilities(features(vision, new, captioner.image, dtype))
    cosines, places = index.best(probabilities, classifier.vocabulary, recipe.candidates)

    fitting = cosines[:, 0].argsort(descending=True)[: math.ceil(recipe.kept * len(names))]
    entries = []
    with Progress("choosing captions", len(fitting), "photo") as progress:
        for row in sorted(fitting.tolist()):
            found = [index.captions[place] for place in places[row].tolist()]
            marks = likelihoods(captioner, unchanged(new[row : row + 1], captioner.image), found)
            marks = marks + recipe.consensus_weight * consensus(found)
            best = marks.argsort(descending=True)[: recipe.captions_per_photo]
            entries.append((names[row], [found[place] for place in best.tolist()]))
            progress.advance()
    with new_folder(out) as folder:
        (folder / IMAGES).symlink_to(images.resolve(), target_is_directory=True)
        (folder / "captions_train.json").write_text(json.dumps(coco(entries)), encoding="utf-8")
    logger.info("%s: %d photos", out, len(entries))


def read_names(photos: Path) -> list[str]:
    """Read a file of one photo's name a line; raises DataError where it cannot be read or leads elsewhere."""
    try:
        names = photos.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{photos} cannot be read: {error}") from None
    names = list(dict.fromkeys(name for line in names if (name := line.strip())))
    if not names:
        raise DataError(f"{photos} names no photo")
    if outside := [name for name in names if leads_out(name)]:
        raise DataError(f"{photos}: {outside[0]} is a path that leads out of {IMAGES}")
    return names


def balance(names: Sequence[str]) -> Tensor:
    """Weigh photos (N,) so that each folder that they lie in weighs the same."""
    folders = [name.rpartition("/")[0] for name in names]
    sizes = Counter(folders)
    return torch.tensor([1 / sizes[folder] for folder in folders])


@torch.inference_mode()
def likelihoods(captioner: Checkpoint, pixels: Tensor, captions: Sequence[str]) -> Tensor:
    """One photo (1, 3, height, width), n captions → mean log-probability (n,) of a token, in nats."""
    model = captioner.model
    config, decoder = model.config, model.decoder
    encoded = captioner.tokenizer.backend.encode_batch(list(captions), add_special_tokens=False)
    rows = [one.ids for one in encoded]
    most = min(max(len(row) for row in rows) + 1, decoder.embedding.positions.num_embeddings)
    _, targets = caption_rows(rows, config.eos_token_ids[0], most)
    tokens = model.encode(pixels.to(decoder.embedding.tokens.weight.dtype))
    cross = decoder.cross_keys_values(tokens)
    logprobs, owners = token_logprobs(decoder, cross, targets, config.decoder_start_token_id)
    sums = torch.zeros(len(rows)).index_add_(0, owners, logprobs)
    return sums / torch.bincount(owners, minlength=len(rows))
