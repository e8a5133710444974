"""Pretraining of a ViT: it learns what a classifier said of photos, and the classes of small images.

soft labels with their photos, labelled images → crops → steps → encoder.safetensors
"""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from model.network.config import VisionConfig
from model.network.encoder import Encoder
from training.data.cutmix import draw_rectangle
from training.data.labelled_images import LabelledImages, read_labelled_images
from training.data.photos import Photos, load_photos
from training.data.recolour import Recolouring
from training.data.soft_crops import Indices, draw_crops
from training.data.soft_labels import GRID, PHOTO_SIZE, SoftLabels, read_soft_labels, soft_cross_entropy
from training.errors import DataError
from training.optimizers import OptimizerRecipe, make_optimizers
from training.recipe import check_integers, check_numbers
from training.stage import Measured, Part, Plan
from training.stages.initialise import initialise
from training.world import World

CHECKED = 250  # labelled images that go through the encoder together when it is measured


@dataclass(frozen=True)
class PretrainRecipe:
    """Numbers of a pretraining run."""

    encoder: VisionConfig
    steps: int
    photos_per_step: int  # crops of photos with soft labels
    images_per_step: int  # labelled images
    optimizer: OptimizerRecipe
    warmup_steps: int
    grid_weight: float  # of the patch tokens' loss; the class token's losses weigh 1
    label_smoothing: float  # of the labelled images' classes
    cutmix: float  # chance that a batch is mixed
    recolouring: Recolouring
    kept_patches: int  # of each picture that the blocks see
    classes: int  # of the classifier that made the soft labels
    held_out: int  # photos kept for measuring
    seed: int

    def __post_init__(self) -> None:
        check_integers(self, 1, "steps", "photos_per_step", "images_per_step", "classes", "held_out")
        check_integers(self, 1, "kept_patches")
        check_integers(self, 0, "warmup_steps", "seed")
        check_numbers(self, math.inf, "grid_weight")
        check_numbers(self, 1, "label_smoothing", "cutmix")
        if self.encoder.grid != GRID:
            raise ValueError(
                f"encoder: the soft labels need {GRID} × {GRID} patches, not {self.encoder.grid}"
            )
        if self.warmup_steps >= self.steps:
            raise ValueError(f"warmup_steps: fewer than the {self.steps} steps are needed")
        if self.kept_patches > GRID**2:
            raise ValueError(f"kept_patches: more than the {GRID**2} patches that there are")


class PretrainNetwork(nn.Module):
    """The encoder with three linear classifiers: two on its class token, one on its patch tokens."""

    def __init__(self, config: VisionConfig, soft_classes: int, image_classes: int) -> None:
        super().__init__()
        self.encoder = Encoder(config)
        self.of_photo = nn.Linear(config.hidden_size, soft_classes)
        self.of_patches = nn.Linear(config.hidden_size, soft_classes)
        self.of_image = nn.Linear(config.hidden_size, image_classes)


class Pretrain:
    """The stage `pretrain`, of one process among others; each draws its share of a step by itself."""

    average = None

    def __init__(
        self,
        recipe: PretrainRecipe,
        photos: Photos,
        labels: SoftLabels,
        images: LabelledImages,
        *,
        checked: LabelledImages,
        world: World,
    ) -> None:
        """Take photos with soft labels, some of which are kept for measuring, and other images for both."""
        self.recipe, self.world = recipe, world
        self.photos, self.labels, self.images, self.checked = photos, labels, images, checked
        self.photos_share = world.share("photos_per_step", recipe.photos_per_step)
        self.images_share = world.share("images_per_step", recipe.images_per_step)
        order = np.random.default_rng(recipe.seed).permutation(len(photos))
        self.held_out, self.pool = order[: recipe.held_out], order[recipe.held_out :]
        if len(self.pool) < recipe.photos_per_step:
            raise DataError(
                f"{len(photos)} photos are fewer than held_out and photos_per_step, "
                f"{recipe.held_out} and {recipe.photos_per_step}"
            )
        names = hashlib.sha256(repr(labels.names).encode()).hexdigest()[:16]
        self.plan = Plan(
            identity=f"{recipe!r} {names} {images.classes}",
            seed=recipe.seed,
            steps=recipe.steps,
            steps_per_epoch=len(self.pool) // recipe.photos_per_step,
            warmup_steps=recipe.warmup_steps,
            gradient_norm=recipe.optimizer.gradient_norm,
        )
        torch.manual_seed(recipe.seed)
        self.network = PretrainNetwork(recipe.encoder, recipe.classes, images.classes)
        initialise(self.network)
        self.network.to(world.device)
        self.optimizers = make_optimizers([(self.network, 1.0)], recipe.optimizer)

    def step(self, step: int) -> Iterator[Part]:
        """Compute cross-entropies in nats: class and patch tokens of photos, class tokens of images."""
        recipe, network, world = self.recipe, self.network, self.world
        rng = np.random.default_rng((recipe.seed, step, world.rank))

        number, size = self.photos_share, recipe.encoder.image_size
        chosen: Indices = rng.choice(self.pool, number, replace=False)
        crops = rng.integers(self.labels.boxes.shape[1], size=number)
        shown, labels = draw_crops(
            self.photos, self.labels, chosen, crops, flips=rng.random(number) < 0.5, size=size
        )
        pixels = recipe.recolouring(shown, rng)
        if rng.random() < recipe.cutmix:
            rectangle = draw_rectangle(GRID, rng)
            pixels, labels = rectangle.paste(pixels), labels.mixed(rectangle)

        shown, classes = self.images.draw_crops(self.images_share, size, rng)
        images, pasted = recipe.recolouring(shown, rng), 0.0
        if rng.random() < recipe.cutmix:
            rectangle = draw_rectangle(GRID, rng)
            images, pasted = rectangle.paste(images), rectangle.share

        pixels = torch.cat([pixels, images])
        kept = torch.from_numpy(rng.random((len(pixels), GRID**2)).argsort(axis=1)[:, : recipe.kept_patches])
        labels, classes, kept = labels.to(world.device), classes.to(world.device), kept.to(world.device)
        with world.autocast():
            tokens = network.encoder(pixels.to(world.device), kept)
            of_photos = network.of_photo(tokens[:number, 0])
            of_patches = network.of_patches(tokens[:number, 1:])
            of_images = network.of_image(tokens[number:, 0]).float()
        cells = kept[:number].unsqueeze(-1)
        photo = soft_cross_entropy(of_photos.float(), labels.ids, labels.probs)
        patch = soft_cross_entropy(
            of_patches.float(),
            labels.grid_ids.flatten(1, 2).take_along_dim(cells, dim=1),
            labels.grid_probs.flatten(1, 2).take_along_dim(cells, dim=1),
        )
        smoothing = recipe.label_smoothing
        own = F.cross_entropy(of_images, classes, label_smoothing=smoothing)
        other = F.cross_entropy(of_images, classes.roll(1, 0), label_smoothing=smoothing)
        image = own * (1 - pasted) + other * pasted
        figures = {"photo_loss": photo, "patch_loss": patch, "image_loss": image}
        yield Part(
            (photo + recipe.grid_weight * patch + image) / world.size,
            {name: loss / world.size for name, loss in figures.items()},
        )

    @torch.no_grad()
    def measure(self) -> Measured:
        """Tell how often the first class is right on what was kept aside, as shares.

        Held-out photos and the cells of their 7 × 7 map are compared with the classifier's first class, other
        images with their own.
        """
        network, size, device = self.network.eval(), self.recipe.encoder.image_size, self.world.device
        zeros, images = np.zeros(len(self.held_out), np.intp), self.checked
        shown, labels = draw_crops(
            self.photos, self.labels, self.held_out, zeros, flips=zeros.astype(bool), size=size
        )
        with self.world.autocast():
            tokens = network.encoder(shown.to(device).float() / 127.5 - 1)
            photos = network.of_photo(tokens[:, 0]).argmax(-1).cpu() == labels.ids[:, 0]
            cells = (
                network.of_patches(tokens[:, 1:]).argmax(-1).cpu() == labels.grid_ids.flatten(1, 2)[..., 0]
            )
            hits = 0
            for chosen in np.array_split(np.arange(len(images.labels)), -(-len(images.labels) // CHECKED)):
                tokens = network.encoder(images.pixels(chosen, size).to(device))
                found = network.of_image(tokens[:, 0]).argmax(-1).cpu()
                hits += int((found == torch.from_numpy(images.labels[chosen])).sum())
        network.train()
        return Measured(
            {
                "photos_right": float(photos.float().mean()),
                "cells_right": float(cells.float().mean()),
                "images_right": hits / len(images.labels),
            }
        )

    def write(self, out: Path) -> None:
        """Write the encoder's weights, from which caption training starts."""
        save_file(self.network.encoder.state_dict(), out / "encoder.aside")
        (out / "encoder.aside").replace(out / "encoder.safetensors")


def prepare_pretrain(
    labels: Path, photos: Path, labelled: Path, recipe: PretrainRecipe, *, cache: Path, world: World
) -> Pretrain:
    """Read a Parquet file of soft labels, a folder of their photos, and a folder of labelled images."""
    soft = read_soft_labels(labels)
    pixels = load_photos(photos, soft.names, PHOTO_SIZE, cache)
    images, checked = (read_labelled_images(labelled, split, cache) for split in ("train", "val"))
    return Pretrain(recipe, pixels, soft, images, checked=checked, world=world)
