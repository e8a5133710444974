"""One run of encoder pretraining: its numbers, its network and what a step does to it."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from model.config import VisionConfig
from model.encoder import Encoder
from training.data.cutmix import draw_rectangle
from training.data.labelled_images import LabelledImages
from training.data.photos import Photos
from training.data.recolour import Recolouring
from training.data.soft_crops import Indices, draw_crops
from training.data.soft_labels import GRID, SoftLabels, soft_cross_entropy
from training.optimizers import OptimizerRecipe, make_optimizers
from training.precision import autocast
from training.schedule import set_learning_rate, warmup_cosine
from training.stages.initialise import initialise

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
        if self.encoder.grid != GRID:
            raise ValueError(
                f"encoder: the soft labels need {GRID} × {GRID} patches, not {self.encoder.grid}"
            )
        if not 0 <= self.warmup_steps < self.steps:
            raise ValueError("warmup_steps: from 0 to below steps is needed")
        if not 0 < self.kept_patches <= GRID**2:
            raise ValueError(f"kept_patches: from 1 to {GRID**2} is needed")
        if self.seed < 0:
            raise ValueError("seed: at least 0 is needed")
        for name in ("photos_per_step", "images_per_step", "classes", "held_out"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: at least 1 is needed")


@dataclass(frozen=True)
class Losses:
    """Cross-entropies of one step, in nats."""

    photo: float  # class token against soft labels
    patch: float  # patch tokens against soft labels
    image: float  # class token against classes


@dataclass(frozen=True)
class Accuracy:
    """How often the first class is right on what was kept aside, as shares."""

    photos: float  # whole photos, against the classifier's first class
    cells: float  # cells of their 7 × 7 map, likewise
    images: float  # labelled images


class PretrainNetwork(nn.Module):
    """The encoder with three linear classifiers: two on its class token, one on its patch tokens."""

    def __init__(self, config: VisionConfig, soft_classes: int, image_classes: int) -> None:
        super().__init__()
        self.encoder = Encoder(config)
        self.of_photo = nn.Linear(config.hidden_size, soft_classes)
        self.of_patches = nn.Linear(config.hidden_size, soft_classes)
        self.of_image = nn.Linear(config.hidden_size, image_classes)


class Pretrainer:
    """Network, optimizers and data of one run; a step's batch depends on the seed and the step alone."""

    def __init__(
        self, recipe: PretrainRecipe, photos: Photos, labels: SoftLabels, images: LabelledImages
    ) -> None:
        self.recipe = recipe
        self.photos, self.labels, self.images = photos, labels, images
        order = np.random.default_rng(recipe.seed).permutation(len(photos))
        self.held_out, self.pool = order[: recipe.held_out], order[recipe.held_out :]
        torch.manual_seed(recipe.seed)
        self.network = PretrainNetwork(recipe.encoder, recipe.classes, images.classes)
        initialise(self.network)
        self.optimizers = make_optimizers([(self.network, 1.0)], recipe.optimizer)

    def step(self, step: int) -> Losses:
        """Do one step of training."""
        recipe, network = self.recipe, self.network
        set_learning_rate(self.optimizers, warmup_cosine(step, recipe.steps, recipe.warmup_steps))
        rng = np.random.default_rng((recipe.seed, step))

        number, size = recipe.photos_per_step, recipe.encoder.image_size
        chosen: Indices = rng.choice(self.pool, number, replace=False)
        crops = rng.integers(self.labels.boxes.shape[1], size=number)
        shown, labels = draw_crops(
            self.photos, self.labels, chosen, crops, flips=rng.random(number) < 0.5, size=size
        )
        pixels = recipe.recolouring(shown, rng)
        if rng.random() < recipe.cutmix:
            rectangle = draw_rectangle(GRID, rng)
            pixels, labels = rectangle.paste(pixels), labels.mixed(rectangle)

        shown, classes = self.images.draw_crops(recipe.images_per_step, size, rng)
        images, pasted = recipe.recolouring(shown, rng), 0.0
        if rng.random() < recipe.cutmix:
            rectangle = draw_rectangle(GRID, rng)
            images, pasted = rectangle.paste(images), rectangle.share

        pixels = torch.cat([pixels, images])
        kept = torch.from_numpy(rng.random((len(pixels), GRID**2)).argsort(axis=1)[:, : recipe.kept_patches])
        with autocast():
            tokens = network.encoder(pixels, kept)
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

        network.zero_grad()
        (photo + recipe.grid_weight * patch + image).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), recipe.optimizer.gradient_norm)
        for optimizer in self.optimizers:
            optimizer.step()
        return Losses(photo.item(), patch.item(), image.item())

    @torch.no_grad()
    def measure(self, images: LabelledImages) -> Accuracy:
        """Compare with the classifier on held-out photos, and with the classes of other `images`."""
        network, size = self.network.eval(), self.recipe.encoder.image_size
        zeros = np.zeros(len(self.held_out), np.intp)
        shown, labels = draw_crops(
            self.photos, self.labels, self.held_out, zeros, flips=zeros.astype(bool), size=size
        )
        with autocast():
            tokens = network.encoder(shown.float() / 127.5 - 1)
            photos = network.of_photo(tokens[:, 0]).argmax(-1) == labels.ids[:, 0]
            cells = network.of_patches(tokens[:, 1:]).argmax(-1) == labels.grid_ids.flatten(1, 2)[..., 0]
            hits = 0
            for chosen in np.array_split(np.arange(len(images.labels)), -(-len(images.labels) // CHECKED)):
                tokens = network.encoder(images.pixels(chosen, size))
                found = network.of_image(tokens[:, 0]).argmax(-1)
                hits += int((found == torch.from_numpy(images.labels[chosen])).sum())
        network.train()
        return Accuracy(
            photos=float(photos.float().mean()),
            cells=float(cells.float().mean()),
            images=hits / len(images.labels),
        )
