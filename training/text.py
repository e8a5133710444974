"""Pretrain the decoder as a language model on captions alone. `python -m training.text --help`.

It sees no photo, so its cross-attention is left out; the weights that it ends with hold a
cross-attention whose output is zero. Captions are learned from there: a decoder that starts as the
language model whatever the photo, and in which the first steps of caption training open the way for
the photo (as a gate does in Flamingo; Alayrac et al., 2022, section 2.2).
"""

import argparse
import hashlib
import logging
import math
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from model.config import GPT2Config
from model.decoder import Decoder
from model.gpt2 import GPT2Block, gpt2_decoder
from training.batches import PADDING, caption_rows
from training.caption_text import length_batches, read_lines
from training.captions import has_split, normalise, read_captions
from training.command import check_writable, ends_in_one_line
from training.errors import DataError
from training.initialise import initialise
from training.optimizers import OptimizerRecipe, make_optimizers
from training.precision import autocast
from training.progress import Progress
from training.recipe import read_recipe
from training.schedule import set_learning_rate, warmup_cosine
from training.snapshot import load_snapshot, save_snapshot
from training.vocabulary import digest, end_token, learn_vocabulary

logger = logging.getLogger("training.text")

RECIPE = Path(__file__).parent / "recipes" / "text-small.yaml"
SNAPSHOT_SECONDS = 180  # at most this much work is lost when a run is killed
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
        if self.max_tokens > self.decoder.n_positions:
            raise ValueError(f"max_tokens: more than the decoder's {self.decoder.n_positions} positions")
        for name in ("max_tokens", "epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: at least 1 is needed")
        for name in ("warmup_steps", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: at least 0 is needed")


class TextBlock(nn.Module):
    """A decoder block without its cross-attention; the layers are the block's own."""

    def __init__(self, block: GPT2Block) -> None:
        super().__init__()
        self.norm_self = block.norm_self
        self.self_attention = block.self_attention
        self.norm_mlp = block.norm_mlp
        self.mlp = block.mlp
        self.dropout = block.dropout

    def forward(self, x: Tensor) -> Tensor:
        """(R, T, C) → (R, T, C)."""
        x = x + self.dropout(self.self_attention(self.norm_self(x), None))
        out: Tensor = x + self.dropout(self.mlp(self.norm_mlp(x)))
        return out


class LanguageModel(nn.Module):
    """A decoder that sees no photo: it shares all layers but the cross-attention."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.embedding = decoder.embedding
        self.blocks = nn.ModuleList(TextBlock(block) for block in cast(Iterable[GPT2Block], decoder.blocks))
        self.head = decoder.head

    def forward(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        """Token ids (R, T) → logits (wanted, V) of what follows the positions marked in `wanted` (R, T)."""
        x = self.embedding(tokens, 0)
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(x[wanted])
        return logits


def blind_decoder(config: GPT2Config) -> Decoder:
    """Make a new decoder whose cross-attention adds nothing, whatever the photo."""
    decoder = gpt2_decoder(config, tied=True)
    initialise(decoder)
    for block in cast(Iterable[GPT2Block], decoder.blocks):
        nn.init.zeros_(block.cross_attention.out.weight)
    return decoder


def text_loss(model: LanguageModel, rows: Rows, end: int, most: int) -> Tensor:
    """Mean cross-entropy of the next token in nats, over captions of which `most` tokens count."""
    inputs, targets = caption_rows(rows, end, most)
    wanted = targets != PADDING
    with autocast():
        logits = model(inputs, wanted)
    return F.cross_entropy(logits.float(), targets[wanted])


@torch.no_grad()
def perplexity(model: LanguageModel, rows: Rows, end: int, most: int) -> float:
    """Exp of the mean loss of a token over all captions; 1 would be knowing each beforehand."""
    model.eval()
    rows = sorted(rows, key=len)
    total, count = 0.0, 0
    for start in range(0, len(rows), HELD_OUT_BATCH):
        batch = rows[start : start + HELD_OUT_BATCH]
        tokens = sum(min(most, len(row) + 1) for row in batch)
        total += text_loss(model, batch, end, most).item() * tokens
        count += tokens
    model.train()
    return math.exp(total / count)


def pretrain(data: Path, texts: Sequence[Path], recipe: TextRecipe, out: Path) -> None:
    """Train on the files and on the captions of `data`; ends with `out/decoder.safetensors`.

    The vocabulary is learned from the training captions of `data` alone, as caption training on
    the same folder learns it; its SHA-256 goes into the file. Resumes what was begun in `out`.
    """
    check_writable(out)
    captions = [normalise(text) for group in read_captions(data, "train").captions for text in group]
    vocabulary = learn_vocabulary(captions, recipe.decoder.vocab_size)
    for path in texts:
        captions.extend(read_lines(path))
    rows = [e.ids for e in vocabulary.encode_batch(captions) if len(e.ids) < recipe.max_tokens]
    if len(rows) < recipe.batch_size:
        raise DataError(f"{len(rows)} captions are fewer than batch_size, {recipe.batch_size}")
    held_out: Rows = []
    if has_split(data, "dev"):
        dev = [normalise(text) for group in read_captions(data, "dev").captions for text in group]
        held_out = [e.ids for e in vocabulary.encode_batch(dev)]
    logger.info("%d of %d captions have up to %d tokens", len(rows), len(captions), recipe.max_tokens)

    torch.manual_seed(recipe.seed)
    decoder = blind_decoder(replace(recipe.decoder, vocab_size=vocabulary.get_vocab_size()))
    train(decoder, recipe, rows, held_out, end=end_token(vocabulary), snapshot=out / "text.safetensors")
    save_file(dict(decoder.named_parameters()), out / "decoder.aside", {"vocabulary": digest(vocabulary)})
    (out / "decoder.aside").replace(out / "decoder.safetensors")


def train(
    decoder: Decoder, recipe: TextRecipe, rows: Rows, held_out: Rows, *, end: int, snapshot: Path
) -> None:
    """Do all steps that `snapshot` does not hold yet; each depends on the seed and its number alone.

    A snapshot of another recipe or other captions is refused.
    """
    identity = f"{recipe!r} {hashlib.sha256(repr(rows).encode()).hexdigest()[:16]}"
    model = LanguageModel(decoder)
    optimizers = make_optimizers([(model, 1.0)], recipe.optimizer)
    state: dict[str, nn.Module] = {"model": model}
    start = load_snapshot(snapshot, state, optimizers, identity) if snapshot.exists() else 0
    lengths = [len(row) for row in rows]
    per_epoch = len(rows) // recipe.batch_size
    steps = recipe.epochs * per_epoch
    model.train()
    saved = time.monotonic()
    losses: list[float] = []
    with Progress("text", steps, "step", done=start) as progress:
        for step in range(start, steps):
            epoch, position = divmod(step, per_epoch)
            if position == 0 or step == start:
                rng = np.random.default_rng((recipe.seed, epoch))
                batches = length_batches(lengths, recipe.batch_size, rng)
            set_learning_rate(optimizers, warmup_cosine(step, steps, recipe.warmup_steps))
            torch.manual_seed(recipe.seed + step)  # of dropout
            loss = text_loss(model, [rows[index] for index in batches[position]], end, recipe.max_tokens)
            model.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), recipe.optimizer.gradient_norm)
            for optimizer in optimizers:
                optimizer.step()
            losses.append(loss.item())
            progress.advance(loss=losses[-1])
            if position + 1 == per_epoch:
                logger.info("epoch %d of %d: loss %.4f", epoch + 1, recipe.epochs, np.mean(losses))
                losses = []
                if held_out:
                    measured = perplexity(model, held_out, end, recipe.max_tokens)
                    logger.info("epoch %d: perplexity %.2f on held-out captions", epoch + 1, measured)
            if time.monotonic() - saved > SNAPSHOT_SECONDS or step + 1 == steps:
                save_snapshot(snapshot, step + 1, state, optimizers, identity)
                saved = time.monotonic()


@ends_in_one_line
def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Pretrain the decoder on captions without photos.")
    parser.add_argument(
        "--data", type=Path, required=True, help="folder whose training captions make the vocabulary"
    )
    parser.add_argument(
        "--text", type=Path, action="append", default=[], help="one caption a line; .txt, .gz"
    )
    parser.add_argument("--config", type=Path, default=RECIPE, help="recipe")
    parser.add_argument("--out", type=Path, default=Path("runs/text"), help="for snapshot and decoder")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    pretrain(given.data, given.text, read_recipe(given.config, TextRecipe), given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
