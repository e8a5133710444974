"""Text: the decoder becomes a language model of captions before it sees a photo.

captions of a data folder and of files → vocabulary → token rows → steps → decoder.safetensors

It sees no photo, so its cross-attention is left out; the weights that it ends with hold a
cross-attention whose output is zero. Captions are learned from there: a decoder that starts as the
language model whatever the photo, and in which the first steps of caption training open the way for
the photo (as a gate does in Flamingo; Alayrac et al., 2022, section 2.2).
"""

import hashlib
import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from model.network.config import GPT2Config
from model.network.decoder import Decoder
from model.network.gpt2 import GPT2Block, gpt2_decoder
from training.data.batches import PADDING, caption_rows
from training.data.caption_text import Batches, length_batches, read_lines
from training.data.captions import has_split, normalise, read_captions
from training.data.vocabulary import digest, end_token, learn_vocabulary
from training.errors import DataError
from training.optimizers import OptimizerRecipe, make_optimizers
from training.recipe import check_integers
from training.stage import Measured, Part, Plan
from training.stages.initialise import initialise
from training.world import World

logger = logging.getLogger("training.text")

HELD_OUT_BATCH = 250  # captions at once when measuring

Rows = Sequence[Sequence[int]]
"""Captions as token ids, without start or end."""


@dataclass(frozen=True)
class TextRecipe:
    """Numbers of a run of text pretraining."""

    decoder: GPT2Config  # the caption recipe's, but for dropout; vocab_size is at most
    max_tokens: int  # captions with more, the end token included, are skipped
    epochs: int
    batch_size: int  # captions
    optimizer: OptimizerRecipe
    warmup_steps: int
    seed: int

    def __post_init__(self) -> None:
        check_integers(self, 1, "max_tokens", "epochs", "batch_size")
        check_integers(self, 0, "warmup_steps", "seed")
        if self.max_tokens > self.decoder.n_positions:
            raise ValueError(f"max_tokens: more than the decoder's {self.decoder.n_positions} positions")


def blind_decoder(config: GPT2Config) -> Decoder:
    """Make a new decoder whose cross-attention adds nothing, whatever the photo, and is not trained."""
    decoder = gpt2_decoder(config, tied=True)
    initialise(decoder)
    for block in cast(Iterable[GPT2Block], decoder.blocks):
        nn.init.zeros_(block.cross_attention.out.weight)
        block.norm_cross.requires_grad_(False)
        block.cross_attention.requires_grad_(False)
    return decoder


def text_loss(model: Decoder, rows: Rows, end: int, most: int, world: World) -> tuple[Tensor, int]:
    """Mean cross-entropy of the next token in nats, and how many count: up to `most` of a caption."""
    inputs, targets = (tensor.to(world.device) for tensor in caption_rows(rows, end, most))
    wanted = targets != PADDING
    with world.autocast():
        logits = model.head(model.hidden(inputs, None, None)[wanted])
    return F.cross_entropy(logits.float(), targets[wanted]), int(wanted.sum())


@torch.no_grad()
def perplexity(model: Decoder, rows: Rows, end: int, most: int, world: World) -> float:
    """Exp of the mean loss of a token over all captions; 1 would be knowing each beforehand."""
    model.eval()
    rows = sorted(rows, key=len)
    total, count = 0.0, 0
    for start in range(0, len(rows), HELD_OUT_BATCH):
        loss, tokens = text_loss(model, rows[start : start + HELD_OUT_BATCH], end, most, world)
        total, count = total + loss.item() * tokens, count + tokens
    model.train()
    return math.exp(total / count)


class Text:
    """The stage `text`, of one process among others."""

    average = None

    def __init__(
        self, recipe: TextRecipe, vocabulary: Tokenizer, rows: Rows, held_out: Rows, world: World
    ) -> None:
        """Take captions to learn from, and others to measure with, in tokens of a vocabulary."""
        if len(rows) < recipe.batch_size:
            raise DataError(f"{len(rows)} captions are fewer than batch_size, {recipe.batch_size}")
        self.recipe, self.vocabulary, self.world = recipe, vocabulary, world
        self.rows, self.held_out = rows, held_out
        self.share = world.share("batch_size", recipe.batch_size)
        self.end = end_token(vocabulary)
        steps_per_epoch = len(rows) // recipe.batch_size
        self.plan = Plan(
            identity=f"{recipe!r} {hashlib.sha256(repr(rows).encode()).hexdigest()[:16]}",
            seed=recipe.seed,
            steps=recipe.epochs * steps_per_epoch,
            steps_per_epoch=steps_per_epoch,
            warmup_steps=recipe.warmup_steps,
            gradient_norm=recipe.optimizer.gradient_norm,
        )
        torch.manual_seed(recipe.seed)
        config = replace(recipe.decoder, vocab_size=vocabulary.get_vocab_size())
        self.network = blind_decoder(config).to(world.device)
        self.optimizers = make_optimizers([(self.network, 1.0)], recipe.optimizer)
        self._batches: tuple[int, Batches] | None = None  # of an epoch, which is costly to draw

    def step(self, step: int) -> Iterator[Part]:
        """Compute the loss of this process's share of a batch of captions, in nats a token."""
        epoch, position = divmod(step, self.plan.steps_per_epoch)
        batch = self.batches(epoch)[position][self.world.rank * self.share :][: self.share]
        rows = [self.rows[index] for index in batch]
        mean, tokens = text_loss(self.network, rows, self.end, self.recipe.max_tokens, self.world)
        loss = mean * (tokens / self.world.total(torch.tensor(tokens, device=self.world.device)))
        yield Part(loss, {"loss": loss})

    def batches(self, epoch: int) -> Batches:
        """Draw the batches of an epoch, unless they are those of the step before."""
        if self._batches is None or self._batches[0] != epoch:
            rng = np.random.default_rng((self.recipe.seed, epoch))
            lengths = [len(row) for row in self.rows]
            self._batches = (epoch, length_batches(lengths, self.recipe.batch_size, rng))
        return self._batches[1]

    def measure(self) -> Measured:
        """Compute the perplexity of the captions that were held out, where there are some."""
        if not self.held_out:
            return Measured()
        most = self.recipe.max_tokens
        return Measured({"perplexity": perplexity(self.network, self.held_out, self.end, most, self.world)})

    def write(self, out: Path) -> None:
        """Write the decoder's weights, from which caption training starts, and the vocabulary's SHA-256."""
        save_file(
            dict(self.network.named_parameters()),
            out / "decoder.aside",
            {"vocabulary": digest(self.vocabulary)},
        )
        (out / "decoder.aside").replace(out / "decoder.safetensors")


def prepare_text(data: Path, texts: Sequence[Path], recipe: TextRecipe, *, world: World) -> Text:
    """Read the captions of a data folder and of files.

    The vocabulary is learned from the training captions of `data` alone, as caption training on
    the same folder learns it.
    """
    captions = [normalise(text) for group in read_captions(data, "train").captions for text in group]
    vocabulary = learn_vocabulary(captions, recipe.decoder.vocab_size)
    for path in texts:
        captions.extend(read_lines(path))
    rows = [e.ids for e in vocabulary.encode_batch(captions) if len(e.ids) < recipe.max_tokens]
    held_out: Rows = []
    if has_split(data, "dev"):
        dev = [normalise(text) for group in read_captions(data, "dev").captions for text in group]
        held_out = [e.ids for e in vocabulary.encode_batch(dev)]
    logger.info("%d of %d captions have up to %d tokens", len(rows), len(captions), recipe.max_tokens)
    return Text(recipe, vocabulary, rows, held_out, world)
