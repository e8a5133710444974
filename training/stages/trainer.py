"""One run of caption training: its numbers, its data, its networks and what a step does to them."""

import math
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from model.checkpoint import Checkpoint, save_checkpoint
from model.conv_stem import InvertedResidual
from model.encoder import Encoder
from model.network import CaptionModel
from training.data.batches import (
    Augmentation,
    Batch,
    TokenisedCaptions,
    caption_rows,
    choose_captions,
    draw_batch,
    unchanged,
)
from training.data.photos import Photos
from training.data.views import Maps, ViewsRecipe, frozen_maps, load_views
from training.errors import DataError, RecipeError
from training.optimizers import make_optimizers
from training.precision import autocast
from training.schedule import set_learning_rate, warmup_cosine
from training.snapshot import load_snapshot, save_snapshot
from training.stages.caption_objective import Objective, caption_loss
from training.stages.train_recipe import TrainRecipe
from training.world import Processes

LOSS_BATCH = 100  # photos at once when a loss is measured


@dataclass(frozen=True)
class Split:
    """Photos and their tokenised captions, index by index."""

    photos: Photos
    captions: TokenisedCaptions
    maps: Maps | None = None
    """What the frozen layers made of views of the photos, where a recipe has such."""


def with_views(
    split: Split, start: Checkpoint, views: ViewsRecipe, how: Augmentation, *, seed: int, cache: Path
) -> Split:
    """Put views of a split's photos through the layers that stay as they are, where they are kept.

    Raises RecipeError for an encoder without a stem, or with fewer blocks.
    """
    stem = start.model.encoder.embedding.stem
    if stem is None or views.start > len(stem.blocks):
        raise RecipeError("views: an encoder with a stem is needed, and one with that many blocks")
    if views.number == 0:
        return split
    mirrored = split.captions.mirrored
    maps = load_views(
        stem, split.photos, mirrored, start.image, recipe=views, how=how, seed=seed, cache=cache
    )
    return replace(split, maps=maps)


def seen(batch: Batch, encoder: Encoder, views: ViewsRecipe | None) -> Batch:
    """Put a batch's photos through the layers that stay as they are, where no maps of theirs are kept."""
    if views is None or views.number or encoder.embedding.stem is None:
        return batch
    return replace(batch, pixels=frozen_maps(encoder.embedding.stem, batch.pixels, views.start))


def freeze(encoder: Encoder, start: int, *, whole_stem: bool) -> None:
    """Take what is not trained out of training: a stem's blocks before `start`, or all of it.

    The depthwise filters of a stem always stay: they are a twentieth of its weights, and the gradients of
    those of 5 × 5 take four fifths of a block's time on a CPU.
    """
    stem = encoder.embedding.stem
    if stem is None:
        return
    stem.requires_grad_(not whole_stem)
    for filtered in cast(Iterable[InvertedResidual], stem.blocks):
        filtered.depthwise.requires_grad_(False)
    if start:
        stem.first.requires_grad_(False)
        for block in list(stem.blocks)[:start]:
            block.requires_grad_(False)


@dataclass(frozen=True)
class StepLosses:
    """Losses of one step over all processes, before the weights moved."""

    caption: float  # nats a token, label smoothing included
    contrast: float  # nats; 0 where the recipe has no such term


class Trainer:
    """Network, averaged network, optimizer and data of one run; steps are counted from 0.

    A step's batch depends on the seed and the step alone, its dropout on the process, too: a
    resumed run repeats what an uninterrupted one does. Every process draws and computes its share
    of a step's photos. As gradients are those of the mean over all tokens of the step, it does not
    matter how many processes and parts the step is spread over, but for dropout and for the
    contrastive term, whose wrong answers are those of one part.
    """

    def __init__(self, recipe: TrainRecipe, start: Checkpoint, split: Split, processes: Processes) -> None:
        if len(split.photos) < recipe.batch_size:
            raise DataError(f"{len(split.photos)} photos are fewer than batch_size, {recipe.batch_size}")
        share = processes.size * recipe.accumulation
        if recipe.batch_size % share:
            spread = f"{processes.size} processes in {recipe.accumulation} parts each"
            raise RecipeError(f"batch_size: {recipe.batch_size} cannot be spread evenly over {spread}")
        if recipe.contrast is not None and recipe.batch_size == recipe.accumulation:
            raise RecipeError("contrast: photos are told apart, so each part of a batch needs two of them")
        self.recipe = recipe
        self.start = start
        self.split = split
        self.processes = processes
        self.steps_per_epoch = len(split.photos) // recipe.batch_size
        self.steps = recipe.epochs * self.steps_per_epoch
        torch.manual_seed(recipe.seed)
        self.model = start.model.to(processes.device)
        start_block = 0 if recipe.views is None else recipe.views.start
        freeze(self.model.encoder, start_block, whole_stem=recipe.stem_rate == 0)
        self.objective = Objective(
            self.model, recipe.label_smoothing, recipe.contrast, recipe.kept_patches, start_block
        ).to(processes.device)
        self.wrapped: nn.Module = self.objective
        if processes.size > 1:
            self.wrapped = DistributedDataParallel(self.objective)
        averaging = get_ema_multi_avg_fn(recipe.average_decay)  # type: ignore[no-untyped-call]
        self.average = AveragedModel(self.model, multi_avg_fn=averaging)
        parts: list[tuple[nn.Module, float]] = []
        if self.model.encoder.embedding.stem is not None:
            parts.append((self.model.encoder.embedding.stem, recipe.stem_rate))
        parts.append((self.model.encoder, recipe.encoder_rate))
        others = (self.model.projection, self.model.decoder, self.objective.contrast)
        parts += [(part, 1.0) for part in others if part is not None]
        self.optimizers = make_optimizers(parts, recipe.optimizer)

    def batch(self, step: int) -> Batch:
        """Draw this process's share of a step; an epoch shows every photo once, but for those left over."""
        recipe, processes = self.recipe, self.processes
        epoch, position = divmod(step, self.steps_per_epoch)
        order = np.random.default_rng((recipe.seed, 0, epoch)).permutation(len(self.split.photos))
        share = recipe.batch_size // processes.size
        places = range(processes.rank * share, (processes.rank + 1) * share)
        indices = [int(order[position * recipe.batch_size + place]) for place in places]
        rngs = [np.random.default_rng((recipe.seed, 1, step, place)) for place in places]
        batch = draw_batch(
            self.split.photos,
            self.split.maps,
            self.split.captions,
            indices,
            captions_per_photo=recipe.captions_per_photo,
            most=recipe.max_tokens,
            how=recipe.augmentation,
            image=self.start.image,
            rngs=rngs,
        )
        with self._autocast():
            return seen(batch.to(processes.device), self.model.encoder, recipe.views)

    def step(self, step: int) -> StepLosses:
        """Do one step of training; raises RecipeError where the loss is no number any more."""
        recipe, processes = self.recipe, self.processes
        set_learning_rate(self.optimizers, self.rate_factor(step))
        batch = self.batch(step)
        tokens = processes.total(batch.tokens)  # of all processes: their captions differ in length
        seeds = np.random.SeedSequence((recipe.seed, 2, step, processes.rank)).generate_state(1)
        torch.manual_seed(int(seeds[0]))  # of dropout
        self.wrapped.train()
        self.wrapped.zero_grad()
        sums = torch.zeros(2, device=processes.device)
        for index, part in enumerate(batch.parts(recipe.accumulation), start=1):
            with self._without_exchange(index < recipe.accumulation):
                with self._autocast():
                    total, contrast = self.wrapped(part, processes)
                # DistributedDataParallel takes the mean over processes; the losses are sums over them.
                loss = total * processes.size / tokens
                if recipe.contrast is not None:
                    loss = loss + contrast * (recipe.contrast.weight / recipe.accumulation)
                loss.backward()
            share = contrast.detach() / (recipe.accumulation * processes.size)
            sums += torch.stack([total.detach() / tokens, share])
        losses = StepLosses(*processes.total(sums).tolist())
        if not (math.isfinite(losses.caption) and math.isfinite(losses.contrast)):
            raise RecipeError(
                f"optimizer: no finite loss at step {step + 1}: lower learning rates are needed"
            )
        nn.utils.clip_grad_norm_(self.objective.parameters(), recipe.optimizer.gradient_norm)
        for optimizer in self.optimizers:
            optimizer.step()
        self.average.update_parameters(self.model)
        return losses

    def rate_factor(self, step: int) -> float:
        """Share of the peak learning rates that a step has."""
        return warmup_cosine(step, self.steps, min(self.recipe.warmup_steps, self.steps // 4))

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
            batch = Batch(pixels, *targets).to(self.processes.device)
            with self._autocast():
                loss = caption_loss(model, batch).item()
            tokens = batch.tokens.item()
            total, count = total + loss * tokens, count + tokens
        return total / count

    def save(self, path: Path, step: int, run: str) -> None:
        """Write what `resume` reads, after `step` finished steps; `run` tells this run from others."""
        save_snapshot(path, step, self._networks(), self.optimizers, run)

    def resume(self, path: Path, run: str) -> int:
        """Load the state of an interrupted run; returns its number of finished steps."""
        return load_snapshot(path, self._networks(), self.optimizers, run)

    def averaged_model(self) -> CaptionModel:
        """Return the network with averaged weights, which is the one to use."""
        return cast(CaptionModel, self.average.module)

    def averaged_checkpoint(self) -> Checkpoint:
        """Return what the engine needs to use the averaged weights."""
        return replace(self.start, model=self.averaged_model())

    def save_checkpoint(self, folder: Path) -> None:
        """Write the averaged weights as a checkpoint folder that the engine and transformers load."""
        save_checkpoint(folder, self.averaged_checkpoint())

    def _networks(self) -> dict[str, nn.Module]:
        networks: dict[str, nn.Module] = {"model": self.model, "average": self.average}
        return networks | ({} if self.objective.contrast is None else {"contrast": self.objective.contrast})

    def _autocast(self) -> torch.autocast:
        return autocast(self.processes.device, self.recipe.precision)

    def _without_exchange(self, without: bool) -> "nullcontext[None]":
        """Add up gradients in this process alone, until the last part of a step."""
        if without and isinstance(self.wrapped, DistributedDataParallel):
            return cast("nullcontext[None]", self.wrapped.no_sync())
        return nullcontext()
