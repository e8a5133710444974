"""One step of self-critical sequence training: captions are drawn, rewarded, and made more or less likely.

Rennie et al., "Self-Critical Sequence Training for Image Captioning", 2017. Their baseline is the
reward of the greedy caption; here a sample is compared with the other samples of its photo, which
varies less and needs no greedy search (Luo, "A Better Variant of Self-Critical Sequence Training", 2020).
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from model.cache import CrossAttentionKV
from model.checkpoint import Checkpoint
from model.decoder import Decoder
from model.network import CaptionModel
from training.batches import PADDING, Augmentation, Batch, draw_batch
from training.errors import DataError
from training.objective import summed_caption_loss
from training.optimizers import OptimizerRecipe, make_optimizers
from training.precision import autocast
from training.rewards import END, CiderD, words
from training.samples import by_length, draw_captions, inputs_of
from training.schedule import set_learning_rate, warmup_cosine
from training.snapshot import load_snapshot, save_snapshot
from training.trainer import Split, freeze, seen
from training.views import ViewsRecipe


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
        for name in ("max_tokens", "epochs", "batch_size", "report_epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: at least 1 is needed")
        for name in ("warmup_steps", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: at least 0 is needed")
        if self.samples_per_photo < 2:
            raise ValueError("samples_per_photo: at least 2 are needed, to be compared with each other")
        for name in ("encoder_rate", "cross_entropy_weight", "average_decay"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: from 0 to 1 is needed")


@dataclass(frozen=True)
class StepResult:
    """What one step found before the weights moved."""

    reward: float  # mean CIDEr-D of the samples
    length: float  # mean tokens of a sample, its end included
    cross_entropy: float  # nats a token; 0 where it is left out


def advantages(rewards: Tensor) -> Tensor:
    """(B, n) → (B, n): by how much a sample beats the mean of its photo's other samples."""
    number = rewards.shape[1]
    others = (rewards.sum(dim=1, keepdim=True) - rewards) / (number - 1)
    return rewards - others


def policy_loss(logprobs: Tensor, advantage: Tensor) -> Tensor:
    """REINFORCE (Williams, 1992): minus Σ advantage · log p, over tokens (N,) with that of their caption.

    Its gradient is on average minus that of the expected reward.
    """
    return -(logprobs * advantage).sum()


def token_logprobs(
    decoder: Decoder, cross: CrossAttentionKV, targets: Tensor, start: int
) -> tuple[Tensor, Tensor]:
    """Targets (R, T) → log-probability of each that is no padding (N,), and its row (N,)."""
    counted = targets != PADDING
    logits = decoder.head(decoder.hidden(inputs_of(targets, start), cross, None)[counted])
    return -F.cross_entropy(logits.float(), targets[counted], reduction="none"), counted.nonzero()[:, 0]


class SelfCritic:
    """Network, averaged network, optimizer, data and reward of one run; steps are counted from 0.

    There is no dropout: what draws the samples is what is made to learn from them. A step depends on
    the seed and its number alone, so a resumed run repeats what an uninterrupted one does.
    """

    def __init__(self, recipe: ScstRecipe, start: Checkpoint, split: Split, reward: CiderD) -> None:
        if len(split.photos) < recipe.batch_size:
            raise DataError(f"{len(split.photos)} photos are fewer than batch_size, {recipe.batch_size}")
        self.recipe = recipe
        self.start = start
        self.split = split
        self.reward = reward
        self.steps_per_epoch = len(split.photos) // recipe.batch_size
        self.steps = recipe.epochs * self.steps_per_epoch
        self.model = start.model.eval()
        averaging = get_ema_multi_avg_fn(recipe.average_decay)  # type: ignore[no-untyped-call]
        self.average = AveragedModel(self.model, multi_avg_fn=averaging)
        parts: list[tuple[nn.Module, float]] = [(self.model.decoder, 1.0)]
        if self.model.projection is not None:
            parts.append((self.model.projection, 1.0))
        if recipe.encoder_rate:
            parts.append((self.model.encoder, recipe.encoder_rate))
        self.model.encoder.requires_grad_(recipe.encoder_rate > 0)
        freeze(self.model.encoder, 0, whole_stem=True)
        self.optimizers = make_optimizers(parts, recipe.optimizer)

    def step(self, step: int) -> StepResult:
        """Draw, reward and learn from the samples of one batch of photos."""
        recipe, model, config = self.recipe, self.model, self.model.config
        set_learning_rate(self.optimizers, warmup_cosine(step, self.steps, recipe.warmup_steps))
        epoch, position = divmod(step, self.steps_per_epoch)
        order = np.random.default_rng((recipe.seed, 0, epoch)).permutation(len(self.split.photos))
        photos = order[position * recipe.batch_size :][: recipe.batch_size].tolist()
        batch = self.batch(step, photos)
        with autocast(), _plain_attention(), torch.set_grad_enabled(recipe.encoder_rate > 0):
            seen = model.encoder(batch.pixels, None, 0 if recipe.views is None else recipe.views.start)
        with autocast():
            image_tokens = seen if model.projection is None else model.projection(seen)
        with autocast(), torch.no_grad():
            targets = draw_captions(
                model.decoder,
                model.decoder.cross_keys_values(image_tokens),
                start=config.decoder_start_token_id,
                ends=config.eos_token_ids,
                per_photo=recipe.samples_per_photo,
                most=recipe.max_tokens,
                generator=torch.Generator().manual_seed(recipe.seed * 1_000_003 + step),
            )
        rewards = self.rewards(photos, targets)
        tokens = (targets != PADDING).sum()
        with autocast():
            cross = model.decoder.cross_keys_values(image_tokens)
        loss = torch.zeros(())
        advantage = advantages(rewards).flatten()
        for rows, part in by_length(targets, recipe.samples_per_photo):
            with autocast(), _plain_attention():
                logprobs, of = token_logprobs(model.decoder, cross, part, config.decoder_start_token_id)
            loss = loss + policy_loss(logprobs, advantage[rows][of]) / tokens
        cross_entropy = torch.zeros(())
        if recipe.cross_entropy_weight:
            with autocast(), _plain_attention():
                total = summed_caption_loss(model, image_tokens, batch.inputs, batch.targets)
            cross_entropy = total / batch.tokens
            loss = loss + recipe.cross_entropy_weight * cross_entropy
        model.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), recipe.optimizer.gradient_norm)
        for optimizer in self.optimizers:
            optimizer.step()
        self.average.update_parameters(model)
        return StepResult(rewards.mean().item(), tokens.item() / len(targets), cross_entropy.item())

    def batch(self, step: int, photos: Sequence[int]) -> Batch:
        """Draw what a step sees of the photos, with captions for its cross-entropy."""
        recipe, split = self.recipe, self.split
        batch = draw_batch(
            split.photos,
            split.maps,
            split.captions,
            photos,
            captions_per_photo=recipe.samples_per_photo,
            most=recipe.max_tokens,
            how=recipe.augmentation,
            image=self.start.image,
            rngs=[np.random.default_rng((recipe.seed, 1, step, place)) for place in range(len(photos))],
        )
        with autocast():
            return seen(batch, self.model.encoder, recipe.views)

    def rewards(self, photos: Sequence[int], targets: Tensor) -> Tensor:
        """CIDEr-D of drawn captions (B · n, T) of B photos → (B, n) float32."""
        ends = self.model.config.eos_token_ids
        rows = [[token for token in row if token != PADDING] for row in targets.tolist()]
        texts = self.start.tokenizer.backend.decode_batch(rows, skip_special_tokens=True)
        captions = [words(text) + [END] * (row[-1] in ends) for text, row in zip(texts, rows, strict=True)]
        n = self.recipe.samples_per_photo
        scores = [
            self.reward.scores(photo, captions[place * n : (place + 1) * n])
            for place, photo in enumerate(photos)
        ]
        return torch.from_numpy(np.stack(scores)).float()

    def averaged_checkpoint(self) -> Checkpoint:
        """Return what the engine needs to use the averaged weights."""
        return replace(self.start, model=cast(CaptionModel, self.average.module))

    def save(self, path: Path, step: int, run: str) -> None:
        """Write what `resume` reads, after `step` finished steps; `run` tells this run from others."""
        save_snapshot(path, step, self._networks(), self.optimizers, run)

    def resume(self, path: Path, run: str) -> int:
        """Load the state of an interrupted run; returns its number of finished steps."""
        return load_snapshot(path, self._networks(), self.optimizers, run)

    def _networks(self) -> dict[str, nn.Module]:
        return {"model": self.model, "average": self.average}


def _plain_attention() -> AbstractContextManager[None]:
    """Attention as products and a softmax: what is fused takes 3 to 6 times as long backwards on a CPU."""
    return sdpa_kernel(SDPBackend.MATH)
