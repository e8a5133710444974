"""What the frozen first layers of a stem make of several augmented views of each photo, computed once.

They are most of a hybrid encoder's work and never change, so a step that reads their maps from disk is a
step of the layers above alone. A photo's views are drawn once, too: view 0 is the photo as it is.
"""

import hashlib
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.image import ImageConfig
from model.network.conv_stem import ConvStem
from training.data.batches import Augmentation, augment, normalised, unchanged
from training.data.cache import cached, check_space
from training.data.photos import Photos
from training.progress import Progress
from training.recipe import check_integers

Maps = npt.NDArray[np.float16]
"""(views, photos, C, h, w)"""

BATCH = 8  # photos at once: their maps stay in the processor's cache
HASHED = 256  # photos at once that go into the key


@dataclass(frozen=True)
class ViewsRecipe:
    """How many views of each photo there are, and which layers are frozen."""

    number: int  # kept on disk; 0: each step draws new ones and computes their maps
    start: int  # the first block of the stem that is trained: those before it are frozen

    def __post_init__(self) -> None:
        check_integers(self, 0, "number")
        check_integers(self, 1, "start")


@torch.no_grad()
def frozen_maps(stem: ConvStem, pixels: Tensor, start: int) -> Tensor:
    """Photos (B, 3, height, width), normalised → the maps that block `start` reads."""
    return torch.cat([stem.before(part, start) for part in torch.split(pixels, BATCH)])


def load_views(
    stem: ConvStem,
    photos: Photos,
    mirrored: Sequence[bool],
    image: ImageConfig,
    *,
    recipe: ViewsRecipe,
    how: Augmentation,
    seed: int,
    cache: Path,
) -> Maps:
    """Compute the maps that block `recipe.start` reads, through the folder `cache`.

    Photos, frozen weights and numbers are part of the cache's key. Of several processes one computes
    and the others wait. Raises DataError where the disk is too full.
    """
    later = tuple(f"blocks.{index}." for index in range(recipe.start, len(stem.blocks)))
    frozen = {
        name: weight for name, weight in stem.state_dict().items() if not name.startswith(("last.", *later))
    }
    digest = hashlib.sha256(f"{recipe} {how} {seed} {image} {list(mirrored)}".encode())
    for start in range(0, len(photos), HASHED):
        digest.update(np.ascontiguousarray(photos[start : start + HASHED]).data)
    for name in sorted(frozen):
        digest.update(frozen[name].half().numpy().tobytes())  # as a checkpoint keeps them
    return cached(
        cache / f"views-{digest.hexdigest()[:16]}.npy",
        partial(_write, stem, photos, mirrored, image, recipe=recipe, how=how, seed=seed),
    )


@torch.no_grad()
def _write(
    stem: ConvStem,
    photos: Photos,
    mirrored: Sequence[bool],
    image: ImageConfig,
    aside: Path,
    *,
    recipe: ViewsRecipe,
    how: Augmentation,
    seed: int,
) -> None:
    stem = deepcopy(stem).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    one = stem.before(unchanged(photos[:1], image), recipe.start)[0]
    shape = (recipe.number, len(photos), *one.shape)
    check_space(aside.parent, 2 * int(np.prod(shape)), "the maps of the photos")
    maps = np.lib.format.open_memmap(aside, mode="w+", dtype=np.float16, shape=shape)
    with Progress("frozen layers", shape[0] * shape[1], "view") as progress:
        for view in range(recipe.number):
            for start in range(0, len(photos), BATCH):
                indices = range(start, min(start + BATCH, len(photos)))
                pixels = torch.stack(list(_pixels(photos, indices, mirrored, view=view, how=how, seed=seed)))
                pixels = normalised(pixels, image).contiguous(memory_format=torch.channels_last)
                maps[view, start : start + len(indices)] = stem.before(pixels, recipe.start).numpy()
                progress.advance(len(indices))
    maps.flush()


def _pixels(
    photos: Photos,
    indices: Sequence[int],
    mirrored: Sequence[bool],
    *,
    view: int,
    how: Augmentation,
    seed: int,
) -> Iterator[Tensor]:
    for index in indices:
        if view == 0:
            yield torch.from_numpy(np.array(photos[index])).permute(2, 0, 1).float() / 127.5 - 1
            continue
        rng = np.random.default_rng((seed, 3, view, index))
        yield augment(photos[index], mirrored[index] and rng.random() < 0.5, how, rng)
