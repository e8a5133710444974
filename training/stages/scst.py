"""Self-critical sequence training: captions are drawn, rewarded with CIDEr-D, and made more or less likely.

checkpoint, data folder → drawn captions → rewards → steps → checkpoint
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from model.checkpoint.folder import Checkpoint, save_checkpoint
from model.network.caption_model import CaptionModel
from training.data.batches import (
    PADDING,
    Augmentation,
    Batch,
    Split,
    draw_batch,
    draw_photos,
    tokenised,
)
from training.data.folder import load_data
from training.data.views import ViewsRecipe
from training.evaluation.dev import DevCaptions
from training.model_card import Ancestor, model_card
from training.optimizers import OptimizerRecipe, averaged, make_optimizers
from training.recipe import check_integers, check_numbers
from training.stage import Measured, Part, Plan
from training.stages.caption_objective import summed_caption_loss
from training.stages.frozen import freeze, seen, with_views
from training.stages.rewards import END, CiderD, words
from training.stages.samples import by_length, draw_captions
from training.stages.self_critical import advantages, policy_loss, reward_of, token_logprobs
from training.stages.start import load_start
from training.world import World


@dataclass(frozen=True)
class ScstRecipe:
    """Numbers of a run of self-critical sequence training."""

    augmentation: Augmentation
    samples_per_photo: int
    max_tokens: int  # samples are cut there
    epochs: int
    batch_size: int  # photos
    optimizer: OptimizerRecipe
    encoder_rate: float  # factor on the encoder's learning rates; 0 leaves it as it is
    warmup_steps: int
    cross_entropy_weight: float  # of the loss of caption training, added; 0 leaves it out
    average_decay: float  # of the exponential moving average of the weights, per step
    report_epochs: int  # epochs between two dev scores
    seed: int
    views: ViewsRecipe | None = None  # of a hybrid encoder: frozen layers and what they see, once

    def __post_init__(self) -> None:
        check_integers(self, 1, "max_tokens", "epochs", "batch_size", "report_epochs")
        check_integers(self, 2, "samples_per_photo")  # to be compared with each other
        check_integers(self, 0, "warmup_steps", "seed")
        check_numbers(self, 1, "encoder_rate", "cross_entropy_weight", "average_decay")


class Scst:
    """The stage `scst`, of one process among others.

    There is no dropout: what draws the samples is what is made to learn from them. The samples depend on the
    process, too.
    """

    def __init__(
        self,
        recipe: ScstRecipe,
        start: Checkpoint,
        split: Split,
        reward: CiderD,
        *,
        world: World,
        dev: DevCaptions | None = None,
        identity: str = "",
    ) -> None:
        """Take a checkpoint to start from; `identity` tells it and the data from those of others."""
        steps_per_epoch = split.steps_per_epoch(recipe.batch_size)
        world.share("batch_size", recipe.batch_size)
        self.recipe, self.start, self.split, self.reward = recipe, start, split, reward
        self.world, self.dev = world, dev
        self.plan = Plan(
            identity=f"{recipe!r} {identity}",
            seed=recipe.seed,
            steps=recipe.epochs * steps_per_epoch,
            steps_per_epoch=steps_per_epoch,
            warmup_steps=recipe.warmup_steps,
            gradient_norm=recipe.optimizer.gradient_norm,
            report_epochs=recipe.report_epochs,
            scores_start=True,
        )
        self.network = start.model.to(world.device).eval()
        self.average = averaged(self.network, recipe.average_decay)
        parts: list[tuple[nn.Module, float]] = [(self.network.decoder, 1.0)]
        if self.network.projection is not None:
            parts.append((self.network.projection, 1.0))
        if recipe.encoder_rate:
            parts.append((self.network.encoder, recipe.encoder_rate))
        self.network.encoder.requires_grad_(recipe.encoder_rate > 0)
        freeze(self.network.encoder, 0, whole_stem=True)
        self.optimizers = make_optimizers(parts, recipe.optimizer)

    def step(self, step: int) -> Iterator[Part]:
        """Draw, reward and learn from the samples of this process's share of a batch of photos."""
        recipe, network, world = self.recipe, self.network, self.world
        photos, batch = self.batch(step)
        with world.autocast(), _plain_attention():
            start = 0 if recipe.views is None else recipe.views.start
            image_tokens = network.encode(batch.pixels, start=start)
        targets = self.draw(image_tokens, step)
        rewards = self.rewards(photos, targets)
        advantage = advantages(rewards).flatten().to(world.device)
        drawn = (targets != PADDING).sum()
        tokens = world.total(drawn)
        # An autocast of its own for what has gradients: a weight that was cast while drawing has none.
        with world.autocast():
            cross = network.decoder.cross_keys_values(image_tokens)
        loss = torch.zeros((), device=world.device)
        for rows, part in by_length(targets, recipe.samples_per_photo):
            with world.autocast(), _plain_attention():
                logprobs, of = token_logprobs(
                    network.decoder, cross, part, network.config.decoder_start_token_id
                )
            loss = loss + policy_loss(logprobs, advantage[rows][of]) / tokens
        figures = {
            "reward": (rewards.mean() / world.size).to(world.device),  # mean CIDEr-D of the samples
            "length": drawn.double() / (len(targets) * world.size),  # mean tokens of a sample, with its end
        }
        if recipe.cross_entropy_weight:
            with world.autocast(), _plain_attention():
                total = summed_caption_loss(network, image_tokens, batch.inputs, batch.targets)
            figures["cross_entropy"] = total / world.total(batch.tokens)  # nats a token
            loss = loss + recipe.cross_entropy_weight * figures["cross_entropy"]
        yield Part(loss, figures)

    def batch(self, step: int) -> tuple[list[int], Batch]:
        """Choose photos, and draw what a step sees of them, with captions for its cross-entropy."""
        recipe, split, world = self.recipe, self.split, self.world
        photos, rngs = draw_photos(
            step, photos=len(split.photos), batch_size=recipe.batch_size, seed=recipe.seed, world=world
        )
        batch = draw_batch(
            split,
            photos,
            rngs,
            captions_per_photo=recipe.samples_per_photo,
            most=recipe.max_tokens,
            how=recipe.augmentation,
            image=self.start.image,
        )
        with world.autocast():
            return photos, seen(batch.to(world.device), self.network.encoder, recipe.views)

    @torch.no_grad()
    def draw(self, image_tokens: Tensor, step: int) -> Tensor:
        """Draw captions of photos, image tokens (B, S, C) → targets (B · n, T)."""
        recipe, world, decoder = self.recipe, self.world, self.network.decoder
        config = self.network.config
        seed = recipe.seed * 1_000_003 + step + world.rank * 1_000_000_007
        with world.autocast():
            return draw_captions(
                decoder,
                decoder.cross_keys_values(image_tokens),
                start=config.decoder_start_token_id,
                ends=config.eos_token_ids,
                per_photo=recipe.samples_per_photo,
                most=recipe.max_tokens,
                generator=torch.Generator(world.device).manual_seed(seed),
            )

    def rewards(self, photos: Sequence[int], targets: Tensor) -> Tensor:
        """CIDEr-D of drawn captions (B · n, T) of B photos → (B, n) float32, on the processor."""
        ends = self.network.config.eos_token_ids
        rows = [[token for token in row if token != PADDING] for row in targets.tolist()]
        texts = self.start.tokenizer.backend.decode_batch(rows, skip_special_tokens=True)
        captions = [words(text) + [END] * (row[-1] in ends) for text, row in zip(texts, rows, strict=True)]
        n = self.recipe.samples_per_photo
        scores = [
            self.reward.scores(photo, captions[place * n : (place + 1) * n])
            for place, photo in enumerate(photos)
        ]
        return torch.from_numpy(np.stack(scores)).float()

    def measure(self) -> Measured:
        """Caption the dev split with the averaged weights, and score that."""
        if self.dev is None:
            return Measured()
        return self.dev.measure(self.averaged_checkpoint(), self.world.device)

    def write(self, out: Path) -> None:
        """Write the averaged weights as a checkpoint folder that the engine and transformers load."""
        save_checkpoint(out / "checkpoint", self.averaged_checkpoint())

    def averaged_checkpoint(self) -> Checkpoint:
        """Return what the engine needs to use the averaged weights."""
        return replace(self.start, model=cast(CaptionModel, self.average.module))


def prepare_scst(data: Path, init: Path, recipe: ScstRecipe, *, name: str, cache: Path, world: World) -> Scst:
    """Load the captioner in `init` and the data that it is to be trained on further.

    `name` is that of the captioner in its model card.
    """
    start = load_start(init, recipe.max_tokens)
    found = load_data(data, start.image, cache)
    parts = [Ancestor.of("checkpoint", init, init)]
    start = replace(start, card=model_card(name, parts, data, found, recipe))
    captions = found.train[0]
    split = tokenised(found.train, start)
    split = with_views(split, start, recipe.views, recipe.augmentation, seed=recipe.seed, cache=cache)
    dev = DevCaptions(*found.dev) if found.dev is not None and world.first else None
    identity = f"{captions.digest()} {init}"
    return Scst(recipe, start, split, reward_of(captions), world=world, dev=dev, identity=identity)


def _plain_attention() -> AbstractContextManager[None]:
    """Attention as products and a softmax: what is fused takes 3 to 6 times as long backwards on a CPU."""
    return sdpa_kernel(SDPBackend.MATH)
