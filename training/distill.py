"""Stage 1: pretrain the ViT on soft labels of photos. `python -m training.distill --help`."""

import argparse
import logging
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from model.config import VisionConfig
from model.encoder import Encoder
from training.crops import Batch, Indices, draw_batch
from training.errors import TrainingError
from training.initialise import initialise
from training.optimizers import OptimizerRecipe, make_optimizers
from training.photos import Photos, load_photos
from training.recipe import read_recipe
from training.schedule import set_learning_rate, warmup_cosine
from training.snapshot import load_snapshot, save_snapshot
from training.soft_labels import (
    GRID,
    PHOTO_SIZE,
    SoftLabels,
    read_soft_labels,
    soft_cross_entropy,
)

logger = logging.getLogger("training.distill")


@dataclass(frozen=True)
class DistillRecipe:
    """Numbers of a distillation run."""

    encoder: VisionConfig
    steps: int
    batch_size: int
    optimizer: OptimizerRecipe
    warmup_steps: int
    grid_weight: float  # of the patch tokens' loss; the class token's weighs 1
    cutmix: float  # chance that a batch is mixed
    kept_patches: int  # of each photo that the blocks see
    classes: int  # of the classifier that made the labels
    held_out: int  # photos kept for measuring
    seed: int

    def __post_init__(self) -> None:
        if self.encoder.image_size != PHOTO_SIZE or self.encoder.grid != GRID:
            raise ValueError(f"encoder: the labels need {PHOTO_SIZE} pixels in {GRID} × {GRID} patches")
        if not 0 <= self.warmup_steps < self.steps:
            raise ValueError("warmup_steps: from 0 to below steps is needed")
        if not 0 < self.kept_patches <= GRID**2:
            raise ValueError(f"kept_patches: from 1 to {GRID**2} is needed")


class Distiller(nn.Module):
    """The encoder with two linear classifiers: one on its class token, one on its patch tokens."""

    def __init__(self, config: VisionConfig, classes: int) -> None:
        super().__init__()
        self.encoder = Encoder(config)
        self.of_class_token = nn.Linear(config.hidden_size, classes)
        self.of_patches = nn.Linear(config.hidden_size, classes)

    def forward(self, pixels: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, 224, 224), patch indices (B, k) → logits (B, V) of photos, (B, k, V) of kept patches.

        Only kept patches go through the blocks (Liu et al., "PatchDropout", 2023): with half of
        them, a step takes 0.6 times as long.
        """
        tokens = self.encoder.embedding(pixels)
        patches = tokens[:, 1:].take_along_dim(kept.unsqueeze(-1), dim=1)
        x = torch.cat([tokens[:, :1], patches], dim=1)
        for block in self.encoder.blocks:
            x = block(x)
        x = self.encoder.norm(x)
        return self.of_class_token(x[:, 0]), self.of_patches(x[:, 1:])


def step_batch(photos: Photos, labels: SoftLabels, pool: Indices, step: int, recipe: DistillRecipe) -> Batch:
    """Draw the batch of one step, which depends on the seed and the step alone."""
    rng = np.random.default_rng((recipe.seed, step))
    indices = rng.choice(pool, recipe.batch_size, replace=False)
    crops = rng.integers(labels.boxes.shape[1], size=recipe.batch_size)
    batch = draw_batch(photos, labels, indices, crops, rng.random(recipe.batch_size) < 0.5)
    return batch.cutmix(rng) if rng.random() < recipe.cutmix else batch


def draw_patches(step: int, recipe: DistillRecipe) -> Tensor:
    """Patch indices (B, kept_patches) that one step looks at, drawn photo by photo."""
    rng = np.random.default_rng((recipe.seed, step, 1))
    order = rng.random((recipe.batch_size, GRID**2)).argsort(axis=1)
    return torch.from_numpy(order[:, : recipe.kept_patches])


@torch.no_grad()
def agreement(network: Distiller, photos: Photos, labels: SoftLabels, pool: Indices) -> tuple[float, float]:
    """Shares of whole photos, and of their cells, where network and classifier name the same class first."""
    zeros = np.zeros(len(pool), np.intp)
    batch = draw_batch(photos, labels, pool, zeros, zeros.astype(bool))
    with torch.autocast("cpu", torch.bfloat16):
        of_photos, of_patches = network.eval()(batch.pixels, torch.arange(GRID**2).expand(len(pool), -1))
    network.train()
    photo_hits = (of_photos.argmax(-1) == batch.crop_ids[:, 0]).float().mean()
    patch_hits = (of_patches.argmax(-1) == batch.grid_ids.flatten(1, 2)[..., 0]).float().mean()
    return float(photo_hits), float(patch_hits)


def distill(labels_path: Path, images: Path, recipe: DistillRecipe, out: Path, cache: Path) -> None:
    """Train, resuming from a snapshot in `out` if there is one; ends with `out/encoder.safetensors`."""
    labels = read_soft_labels(labels_path)
    photos = load_photos(images, labels.names, PHOTO_SIZE, cache)
    order = np.random.default_rng(recipe.seed).permutation(len(photos))
    held_out, pool = order[: recipe.held_out], order[recipe.held_out :]

    torch.manual_seed(recipe.seed)
    network = Distiller(recipe.encoder, recipe.classes)
    initialise(network)
    optimizers = make_optimizers([(network, 1.0)], recipe.optimizer)
    snapshot = out / "distill.safetensors"
    start = (
        load_snapshot(snapshot, {"network": network}, optimizers, repr(recipe)) if snapshot.exists() else 0
    )
    saved = time.monotonic()
    with tqdm(total=recipe.steps, initial=start, desc="distilling", unit="step", disable=None) as bar:
        for step in range(start, recipe.steps):
            set_learning_rate(optimizers, warmup_cosine(step, recipe.steps, recipe.warmup_steps))
            batch = step_batch(photos, labels, pool, step, recipe)
            kept = draw_patches(step, recipe)
            with torch.autocast("cpu", torch.bfloat16):
                of_photos, of_patches = network(batch.pixels, kept)
            photo_loss = soft_cross_entropy(of_photos.float(), batch.crop_ids, batch.crop_probs)
            patch_loss = soft_cross_entropy(
                of_patches.float(),
                batch.grid_ids.flatten(1, 2).take_along_dim(kept.unsqueeze(-1), dim=1),
                batch.grid_probs.flatten(1, 2).take_along_dim(kept.unsqueeze(-1), dim=1),
            )
            network.zero_grad()
            loss = photo_loss + recipe.grid_weight * patch_loss
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), recipe.optimizer.gradient_norm)
            for optimizer in optimizers:
                optimizer.step()
            bar.update()
            bar.set_postfix(photo=f"{photo_loss.item():.3f}", patch=f"{patch_loss.item():.3f}")
            if (step + 1) % 50 == 0:
                losses = photo_loss.item(), patch_loss.item()
                logger.info("step %d: photo loss %.3f, patch loss %.3f", step + 1, *losses)
            if time.monotonic() - saved > 180 or step + 1 == recipe.steps:
                save_snapshot(snapshot, step + 1, {"network": network}, optimizers, repr(recipe))
                hits = agreement(network, photos, labels, held_out)
                shares = [100 * hit for hit in hits]
                logger.info(
                    "step %d: agrees on %.1f %% of held-out photos, %.1f %% of cells", step + 1, *shares
                )
                saved = time.monotonic()
    save_file(network.encoder.state_dict(), out / "encoder.aside")
    (out / "encoder.aside").replace(out / "encoder.safetensors")


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Pretrain the ViT on a classifier's soft labels of photos.")
    parser.add_argument("--labels", type=Path, required=True, help="Parquet file of soft labels")
    parser.add_argument("--images", type=Path, required=True, help="folder of the photos")
    parser.add_argument("--recipe", type=Path, default=Path("training/recipes/distill-small.yaml"))
    parser.add_argument("--out", type=Path, required=True, help="folder for snapshot and encoder")
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"), help="folder for decoded photos")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        distill(given.labels, given.images, read_recipe(given.recipe, DistillRecipe), given.out, given.cache)
    except TrainingError as error:
        logger.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
