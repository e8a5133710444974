"""Captions: an image encoder and a decoder learn to say what people said of photos.

data folder → captions and photos → vocabulary → network → steps → checkpoint
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from torch import nn

from model.checkpoint.folder import Checkpoint, save_checkpoint
from model.network.caption_model import CaptionModel
from model.network.config import GPT2Config, VisionConfig
from model.search.options import GenerationOptions
from training.data.batches import (
    Augmentation,
    Batch,
    Split,
    caption_rows,
    choose_captions,
    draw_batch,
    draw_photos,
    unchanged,
)
from training.data.views import ViewsRecipe
from training.errors import RecipeError
from training.evaluation.dev import DevCaptions
from training.optimizers import OptimizerRecipe, averaged, make_optimizers
from training.recipe import check_integers, check_numbers
from training.stage import Measured, Part, Plan
from training.stages.caption_objective import ContrastRecipe, Objective, caption_loss
from training.stages.frozen import freeze, seen
from training.world import World

LOSS_BATCH = 100  # photos at once when a loss is measured


@dataclass(frozen=True)
class CaptionsRecipe:
    """Numbers of a caption training run.

    `encoder`, `decoder` and `search` are those of a new network; a run that starts from a
    checkpoint keeps its own, and a recipe for it leaves `encoder` and `decoder` out. One that starts from a
    published encoder leaves `encoder` out.
    """

    augmentation: Augmentation
    captions_per_photo: int
    max_tokens: int  # longer captions are cut
    epochs: int
    batch_size: int  # photos a step, of all processes together
    optimizer: OptimizerRecipe
    encoder_rate: float  # factor on the encoder's learning rates
    warmup_steps: int  # at most a quarter of all steps are taken
    label_smoothing: float
    average_decay: float  # of the exponential moving average of the weights, per step
    report_epochs: int  # epochs between two reports: losses and dev scores, and a checkpoint
    seed: int
    encoder: VisionConfig | None = None
    decoder: GPT2Config | None = None  # its vocab_size is how many tokens to learn, at most
    search: GenerationOptions | None = None  # for dev captions, and saved with the weights
    patience: int | None = None  # epochs without a better dev CIDEr before the run stops; None: all epochs
    accumulation: int = 1  # parts that a process computes its share of a batch in, to save memory
    contrast: ContrastRecipe | None = None
    kept_patches: int | None = None  # of each photo that the encoder sees while it trains; None: all
    precision: Literal["bfloat16", "float32"] | None = None  # of matrix products; None: what is fastest here
    views: ViewsRecipe | None = None  # of a hybrid encoder: frozen layers and what they see, once
    stem_rate: float = 0.0  # factor on the learning rates of a stem's other layers; 0 freezes them, too

    def __post_init__(self) -> None:
        optional = [name for name in ("patience", "kept_patches") if getattr(self, name) is not None]
        check_integers(self, 1, "captions_per_photo", "max_tokens", "epochs", "batch_size", "report_epochs")
        check_integers(self, 1, "accumulation", *optional)
        check_integers(self, 0, "warmup_steps", "seed")
        check_numbers(self, 1, "encoder_rate", "stem_rate", "label_smoothing", "average_decay")
        if self.decoder is not None and self.max_tokens > self.decoder.n_positions:
            raise ValueError(f"max_tokens: more than the decoder's {self.decoder.n_positions} positions")
        if self.precision not in ("bfloat16", "float32", None):
            raise ValueError(f"precision: {self.precision!r} is neither bfloat16 nor float32")
        if self.encoder is not None and self.views is not None:
            if self.encoder.stem is None:
                raise ValueError("views: frozen layers are those of an encoder with a stem")
            blocks = sum(stage[0] for stage in self.encoder.stem.stages)
            if self.views.start > blocks:
                raise ValueError(f"views, start: more than the {blocks} blocks of the stem")
        if self.decoder is None and self.encoder is not None:
            raise ValueError(
                "decoder: it is needed where there is an encoder; for a checkpoint, leave both out"
            )


class Captions:
    """The stage `captions`, of one process among others.

    As gradients are those of the mean over all tokens of the step, it does not matter how many processes and
    parts the step is spread over, but for dropout and for the contrastive term, whose wrong answers are
    those of one part.
    """

    def __init__(
        self,
        recipe: CaptionsRecipe,
        start: Checkpoint,
        split: Split,
        world: World,
        *,
        dev: tuple[Split, DevCaptions] | None = None,
        identity: str = "",
    ) -> None:
        """Take a network to start from; `identity` tells data and start of this run from those of others.

        The first process alone needs `dev`, where there is such a split.
        """
        steps_per_epoch = split.steps_per_epoch(recipe.batch_size)
        world.share("batch_size", recipe.batch_size, recipe.accumulation)
        if recipe.contrast is not None and recipe.batch_size == recipe.accumulation:
            raise RecipeError("contrast: photos are told apart, so each part of a batch needs two of them")
        self.recipe, self.start, self.split, self.world = recipe, start, split, world
        self.dev = dev
        steps = recipe.epochs * steps_per_epoch
        self.plan = Plan(
            identity=f"{recipe!r} {identity}",
            seed=recipe.seed,
            steps=steps,
            steps_per_epoch=steps_per_epoch,
            warmup_steps=min(recipe.warmup_steps, steps // 4),
            gradient_norm=recipe.optimizer.gradient_norm,
            report_epochs=recipe.report_epochs,
            patience=recipe.patience,
        )
        torch.manual_seed(recipe.seed)
        self.model = start.model.to(world.device)
        start_block = 0 if recipe.views is None else recipe.views.start
        freeze(self.model.encoder, start_block, whole_stem=recipe.stem_rate == 0)
        self.network = Objective(
            self.model, recipe.label_smoothing, recipe.contrast, recipe.kept_patches, start_block
        ).to(world.device)
        self.average = averaged(self.network, recipe.average_decay)
        encoder, others = (
            self.model.encoder,
            (self.model.projection, self.model.decoder, self.network.contrast),
        )
        parts: list[tuple[nn.Module, float]] = []
        if encoder.embedding.stem is not None:
            parts.append((encoder.embedding.stem, recipe.stem_rate))
        parts.append((encoder, recipe.encoder_rate))
        parts += [(part, 1.0) for part in others if part is not None]
        self.optimizers = make_optimizers(parts, recipe.optimizer)

    def batch(self, step: int) -> Batch:
        """Draw this process's share of a step."""
        recipe, split, world = self.recipe, self.split, self.world
        indices, rngs = draw_photos(
            step, photos=len(split.photos), batch_size=recipe.batch_size, seed=recipe.seed, world=world
        )
        batch = draw_batch(
            split,
            indices,
            rngs,
            captions_per_photo=recipe.captions_per_photo,
            most=recipe.max_tokens,
            how=recipe.augmentation,
            image=self.start.image,
        )
        with world.autocast(recipe.precision):
            return seen(batch.to(world.device), self.model.encoder, recipe.views)

    def step(self, step: int) -> Iterator[Part]:
        """Compute the caption loss (nats a token, with label smoothing) and the contrastive term (nats)."""
        recipe, world = self.recipe, self.world
        batch = self.batch(step)
        tokens = world.total(batch.tokens)  # of all processes: their captions differ in length
        self.network.train()
        spread = recipe.accumulation * world.size
        for part in batch.parts(recipe.accumulation):
            with world.autocast(recipe.precision):
                total, contrast = self.network(part, world)
            loss = total / tokens
            figures = {"loss": loss}
            if recipe.contrast is not None:
                figures["contrast"] = contrast / spread
                loss = loss + contrast * (recipe.contrast.weight / spread)
            yield Part(loss, figures)

    def measure(self) -> Measured:
        """Caption the dev split with the averaged weights, and score that."""
        if self.dev is None:
            return Measured()
        split, dev = self.dev
        measured = dev.measure(self.averaged_checkpoint(), self.world.device)
        return replace(measured, scores={"dev_loss": self.loss_on(split), **measured.scores})

    @torch.no_grad()
    def loss_on(self, split: Split) -> float:
        """Loss of the averaged weights on photos as they are, in nats a token, without smoothing.

        Each photo has `captions_per_photo` of its captions, the same ones each time.
        """
        model = self.averaged_model().eval()
        captions, number = split.captions, self.recipe.captions_per_photo
        rng = np.random.default_rng(self.recipe.seed)
        total, count = 0.0, 0.0
        for first in range(0, len(split.photos), LOSS_BATCH):
            pixels = unchanged(split.photos[first : first + LOSS_BATCH], self.start.image)
            groups = captions.rows[first : first + LOSS_BATCH]
            rows = [row for group in groups for row in choose_captions(group, number, rng)]
            targets = caption_rows(rows, captions.end, self.recipe.max_tokens, captions.start)
            batch = Batch(pixels, *targets).to(self.world.device)
            with self.world.autocast(self.recipe.precision):
                loss = caption_loss(model, batch).item()
            tokens = batch.tokens.item()
            total, count = total + loss * tokens, count + tokens
        return total / count

    def write(self, out: Path) -> None:
        """Write the averaged weights as a checkpoint folder that the engine and transformers load."""
        save_checkpoint(out / "checkpoint", self.averaged_checkpoint())

    def averaged_model(self) -> CaptionModel:
        """Return the network with averaged weights, which is the one to use."""
        return cast(Objective, self.average.module).model

    def averaged_checkpoint(self) -> Checkpoint:
        """Return what the engine needs to use the averaged weights."""
        return replace(self.start, model=self.averaged_model())
