"""Train a captioner on photos with captions. `python -m training.train --help`.

data folder → captions and photos → vocabulary → network → steps → checkpoint
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from model.captioner import Captioner
from model.image import ImageConfig
from training.batches import TokenisedCaptions
from training.captions import CaptionSet, read_split
from training.command import check_writable, ends_in_one_line
from training.data import load_data
from training.dev import DevScores
from training.errors import RecipeError
from training.model_card import Part, model_card
from training.network import check_vocabulary, load_part, new_network, old_network
from training.photos import Photos
from training.problems import Problems
from training.processes import Processes, join_processes
from training.published import PublishedEncoder, is_published, read_published
from training.recipe import read_recipe
from training.run import Dev, Run
from training.train_recipe import TrainRecipe
from training.trainer import Split, Trainer, with_views

logger = logging.getLogger("training.train")

RECIPES = Path(__file__).parent / "recipes"
SAVE_SECONDS = 180.0
SHIPPED = Path(__file__).parent.parent / "checkpoints" / "flickr8k-coco"
PUBLISHED_SIZE = 224
"""Pixels along a side of the photos that a published encoder is given."""
FEW = 10_000
"""Photos below which the weights that ship are the better start: fewer teach no encoder to see."""


@dataclass(frozen=True)
class Start:
    """What a run starts from, besides drawn weights."""

    init: Path | None = None  # a checkpoint folder
    encoder: Path | None = None  # weights of training.pretrain, or a published encoder, for a new network
    decoder: Path | None = None  # weights of training.text, for a new network
    stem: Path | None = None  # weights of training.efficientnet_lite, for a new network

    def __post_init__(self) -> None:
        if self.init is not None and (self.encoder or self.decoder or self.stem):
            raise RecipeError(
                "a checkpoint to start from brings its encoder and decoder: give one or the other"
            )

    def parts(self, published: PublishedEncoder | None) -> list[Part]:
        """Describe all of it by its model cards; `published` is the encoder where that is such a one."""
        given = {"checkpoint": self.init, "encoder": self.encoder, "decoder": self.decoder, "stem": self.stem}
        places = {"encoder": published.folder} if published else {}
        return [Part.of(role, path, places.get(role, path)) for role, path in given.items() if path]


def train(
    data: Path,
    recipe: TrainRecipe,
    out: Path,
    *,
    cache: Path,
    start: Start,
    processes: Processes,
    save_seconds: float = SAVE_SECONDS,
) -> None:
    """Train on a data folder; ends with `out/checkpoint`, and resumes what was begun in `out`."""
    network = None if start.init is None else old_network(recipe, start.init)
    published = None
    if start.encoder is not None and is_published(start.encoder):
        if recipe.encoder is not None:
            raise RecipeError(f"{start.encoder} brings its own dimensions: leave `encoder` out of the recipe")
        published = read_published(start.encoder, PUBLISHED_SIZE)
    if network is not None:
        image = network.image
    elif published is not None:
        image = published.image
    elif recipe.encoder is not None:
        size = recipe.encoder.image_size
        image = ImageConfig(size=(size, size))
    else:
        raise RecipeError(
            "the recipe has no encoder and decoder: a checkpoint to start from is needed (INIT)"
        )
    check_writable(out)
    found = load_data(data, image, cache)
    network = new_network(recipe, found.train[0], published) if network is None else network
    if start.encoder is not None and published is None:
        load_part(network.model.encoder, start.encoder, "encoder")
    if start.stem is not None:
        if network.model.encoder.embedding.stem is None:
            raise RecipeError("the recipe's encoder has no stem to fill")
        load_part(network.model.encoder.embedding.stem, start.stem, "stem")
    if start.decoder is not None:
        load_part(network.model.decoder, start.decoder, "decoder")
        check_vocabulary(start.decoder, network.tokenizer)
    card = model_card(out.resolve().name, start.parts(published), data, found, recipe)
    network = replace(network, card=card)
    Captioner(network).check_options(network.options)  # now, and not at the first report
    config = network.model.config

    def tokenised(captions: CaptionSet, photos: Photos) -> Split:
        ids = (config.decoder_start_token_id, config.eos_token_ids[0])
        return Split(photos, TokenisedCaptions.of(captions, network.tokenizer, *ids))

    split = tokenised(*found.train)
    if recipe.views is not None:
        split = with_views(split, network, recipe.views, recipe.augmentation, seed=recipe.seed, cache=cache)
    trainer = Trainer(recipe, network, split, processes)
    dev = Dev(tokenised(*found.dev), DevScores(*found.dev)) if found.dev and processes.first else None
    if found.dev is None:
        logger.info("%s has no split 'dev': nothing is scored, and the last weights are kept", data)
    identity = f"{recipe!r} {found.train[0].digest()} {start}"
    Run(trainer, dev, out, identity, save_seconds).go()


def default_init(data: Path) -> Path | None:
    """Choose what to start from where nothing is said: the weights that ship, for a folder of few photos."""
    if not SHIPPED.is_dir() or not data.is_dir():
        return None
    photos = len(read_split(data, "train", Problems()).names)
    if photos >= FEW:
        return None
    logger.info(
        "starting from %s: %d photos are fewer than %d (--config for a new network)",
        SHIPPED.name,
        photos,
        FEW,
    )
    return SHIPPED


@ends_in_one_line
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Train a captioner on photos with captions.")
    parser.add_argument("--data", type=Path, required=True, help="folder of captions and images/")
    parser.add_argument(
        "--config", type=Path, help="recipe; by default fine-tune.yaml, from-encoder.yaml or small.yaml"
    )
    parser.add_argument(
        "--init",
        type=Path,
        help=f"checkpoint folder to fine-tune; the one that ships for fewer than {FEW} photos",
    )
    parser.add_argument(
        "--encoder",
        type=Path,
        help="file of training.pretrain, or folder or hub repository of a ViT or DINOv2",
    )
    parser.add_argument("--stem", type=Path, help="pretrained stem, from training.efficientnet_lite")
    parser.add_argument("--decoder", type=Path, help="pretrained decoder, from training.text")
    parser.add_argument("--out", type=Path, default=Path("runs/train"), help="for snapshot and checkpoint")
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"), help="folder for decoded photos")
    parser.add_argument(
        "--save-seconds", type=float, default=SAVE_SECONDS, help="time between snapshots; default %(default)s"
    )
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    start = Start(given.init, given.encoder, given.decoder, given.stem)
    if given.config is None and start == Start():
        start = Start(default_init(given.data))
    default = "small.yaml" if start.init is None else "fine-tune.yaml"
    if start.encoder is not None and is_published(start.encoder):
        default = "from-encoder.yaml"
    recipe = read_recipe(given.config or RECIPES / default, TrainRecipe)
    with join_processes() as processes:
        if not processes.first:
            logging.getLogger().setLevel(logging.ERROR)
        train(
            given.data,
            recipe,
            given.out,
            cache=given.cache,
            start=start,
            processes=processes,
            save_seconds=given.save_seconds,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
