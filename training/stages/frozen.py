"""Layers that stay as they are while a captioner is trained, and what they see."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import cast

from model.checkpoint.folder import Checkpoint
from model.network.conv_stem import InvertedResidual
from model.network.encoder import Encoder
from training.data.batches import Augmentation, Batch, Split
from training.data.views import ViewsRecipe, frozen_maps, load_views
from training.errors import RecipeError


def with_views(
    split: Split, start: Checkpoint, views: ViewsRecipe | None, how: Augmentation, *, seed: int, cache: Path
) -> Split:
    """Put views of a split's photos through the layers that stay as they are, where a recipe has `views`.

    Raises RecipeError for an encoder without a stem, or with fewer blocks.
    """
    if views is None:
        return split
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
