"""What caption training starts from: a new network of the recipe's dimensions, or a checkpoint's."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from model.captioner import Captioner
from model.checkpoint.folder import Checkpoint, load_checkpoint
from model.image import ImageConfig
from model.network.caption_model import CaptionModel
from model.network.config import GPT2Config, ModelConfig
from model.network.encoder import Encoder, stretch_positions
from model.search.options import GenerationOptions
from model.tokenizer import Tokenizer
from training.conversion.published import PublishedEncoder, is_published, read_published
from training.data.batches import tokenised
from training.data.captions import CaptionSet, normalise, read_split
from training.data.folder import load_data
from training.data.problems import Problems
from training.data.vocabulary import digest, end_token, learn_vocabulary
from training.errors import DataError, RecipeError
from training.evaluation.dev import DevCaptions
from training.model_card import Ancestor, model_card
from training.stages.captions import Captions, CaptionsRecipe
from training.stages.frozen import with_views
from training.stages.initialise import initialise
from training.world import World

logger = logging.getLogger("training.start")

POSITIONS = "embedding.positions"  # (1, 1 + patches, C)
SHIPPED = Path(__file__).parents[2] / "checkpoints" / "flickr8k-coco"
PUBLISHED_SIZE = 224
"""Pixels along a side of the photos that a published encoder is given."""
FEW = 10_000
"""Photos below which the weights that ship are the better start: fewer teach no encoder to see."""
NO_NETWORK = "the recipe has no encoder and decoder: a checkpoint to start from is needed (INIT)"


@dataclass(frozen=True)
class Start:
    """What a run starts from, besides drawn weights."""

    init: Path | None = None  # a checkpoint folder
    encoder: Path | None = None  # of the pretrain stage, or published; for a new network
    decoder: Path | None = None  # of the text stage, for a new network
    stem: Path | None = None  # of conversion.efficientnet_lite, for a new network

    def __post_init__(self) -> None:
        if self.init is not None and (self.encoder or self.decoder or self.stem):
            raise RecipeError(
                "a checkpoint to start from brings its encoder and decoder: give one or the other"
            )

    def parts(self, published: PublishedEncoder | None) -> list[Ancestor]:
        """Describe all of it by its model cards; `published` is the encoder where that is such a one."""
        given = {"checkpoint": self.init, "encoder": self.encoder, "decoder": self.decoder, "stem": self.stem}
        places = {"encoder": published.folder} if published else {}
        return [Ancestor.of(role, path, places.get(role, path)) for role, path in given.items() if path]


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


def default_recipe(start: Start) -> str:
    """Choose the recipe where none is given, by its name in `training/recipes/`."""
    if start.encoder is not None and is_published(start.encoder):
        return "from-encoder.yaml"
    return "small.yaml" if start.init is None else "fine-tune.yaml"


def prepare_captions(
    data: Path, recipe: CaptionsRecipe, start: Start, *, name: str, cache: Path, world: World
) -> Captions:
    """Read a data folder and make the network that learns it; `cache` keeps the decoded photos.

    `name` is that of the captioner in its model card.
    """
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
        image = ImageConfig(size=(recipe.encoder.image_size,) * 2)
    else:
        raise RecipeError(NO_NETWORK)
    found = load_data(data, image, cache)
    if network is None:
        network = new_network(recipe, found.train[0], published)
    if start.encoder is not None and published is None:
        load_part(network.model.encoder, start.encoder, "encoder")
    if start.stem is not None:
        if network.model.encoder.embedding.stem is None:
            raise RecipeError("the recipe's encoder has no stem to fill")
        load_part(network.model.encoder.embedding.stem, start.stem, "stem")
    if start.decoder is not None:
        load_part(network.model.decoder, start.decoder, "decoder")
        check_vocabulary(start.decoder, network.tokenizer)
    network = replace(network, card=model_card(name, start.parts(published), data, found, recipe))
    Captioner(network).check_options(network.options)  # now, and not at the first report
    split = with_views(
        tokenised(found.train, network),
        network,
        recipe.views,
        recipe.augmentation,
        seed=recipe.seed,
        cache=cache,
    )
    dev = None
    if found.dev is not None and world.first:
        dev = (tokenised(found.dev, network), DevCaptions(*found.dev))
    identity = f"{found.train[0].digest()} {start}"
    return Captions(recipe, network, split, world, dev=dev, identity=identity)


def new_network(
    recipe: CaptionsRecipe, captions: CaptionSet, published: PublishedEncoder | None = None
) -> Checkpoint:
    """Learn a vocabulary from captions and draw a new network's weights; a published encoder has its own."""
    encoder = recipe.encoder if published is None else published.config
    if encoder is None or recipe.decoder is None:
        raise RecipeError(NO_NETWORK)
    texts = (normalise(caption) for group in captions.captions for caption in group)
    vocabulary = learn_vocabulary(texts, recipe.decoder.vocab_size)
    end = end_token(vocabulary)
    decoder = replace(recipe.decoder, vocab_size=vocabulary.get_vocab_size())
    model = CaptionModel(ModelConfig(encoder, decoder, end, (end,), end))
    torch.manual_seed(recipe.seed)  # now: building it drew numbers, too
    initialise(model)
    image = ImageConfig(size=(encoder.image_size,) * 2)
    if published is not None:
        model.encoder.load_state_dict(published.weights)
        image = published.image
    return Checkpoint(model, Tokenizer(vocabulary), image, recipe.search or GenerationOptions())


def old_network(recipe: CaptionsRecipe, folder: Path) -> Checkpoint:
    """Load a checkpoint to go on from; tokenizer, image config and architecture are its own.

    Raises RecipeError when the recipe has another architecture, DataError for a checkpoint that
    cannot be written again.
    """
    if recipe.decoder is not None:
        raise RecipeError(
            f"{folder} brings its own encoder and decoder: leave both out of the recipe, "
            "as in training/recipes/fine-tune.yaml"
        )
    found = load_start(folder, recipe.max_tokens)
    return replace(found, options=recipe.search or found.options)


def load_start(folder: Path, max_tokens: int) -> Checkpoint:
    """Load a checkpoint that can be trained; raises DataError or RecipeError for one that cannot be."""
    found = load_checkpoint(folder, dtype=torch.float32)
    decoder = found.model.config.decoder
    if not isinstance(decoder, GPT2Config):
        raise DataError(f"{folder} cannot be trained: only checkpoints of a ViT and a GPT-2 can be written")
    if found.image.size[0] != found.image.size[1]:
        raise DataError(f"{folder} cannot be trained: its photos are {found.image.size}, not square")
    if max_tokens > decoder.n_positions:
        raise RecipeError(f"max_tokens: more than the {decoder.n_positions} positions of {folder}")
    return found


def load_part(part: nn.Module, path: Path, name: str) -> None:
    """Fill encoder or decoder with weights of a pretraining stage.

    An encoder may come from photos of another size. Raises DataError with one line that names the
    first keys that do not fit.
    """
    try:
        stored = load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{name} {path} cannot be read: {error}") from None
    wanted = dict(part.named_parameters())  # the output layer is the token embedding: it is there once
    if isinstance(part, Encoder):
        stored = _stretched(part, stored)
    faults = [f"{key} is unknown" for key in stored if key not in wanted]
    faults += [f"{key} is missing" for key in wanted if key not in stored]
    faults += [
        f"{key} is {tuple(stored[key].shape)} instead of {tuple(wanted[key].shape)}"
        for key in wanted
        if key in stored and stored[key].shape != wanted[key].shape
    ]
    if faults:
        raise DataError(f"{name} {path} is another network's: {_listed(faults)}")
    part.load_state_dict(stored, strict=False)


def check_vocabulary(path: Path, tokenizer: Tokenizer) -> None:
    """Raise DataError where a decoder was pretrained with another vocabulary: its ids are other words."""
    with safe_open(path, framework="pt") as file:
        learned = (file.metadata() or {}).get("vocabulary")
    if learned != digest(tokenizer.backend):
        raise DataError(
            f"decoder {path} has another vocabulary: pretrain it on the captions of the same data, "
            "with the same vocab_size"
        )


def _stretched(encoder: Encoder, stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """Fit the position embeddings of an encoder that was pretrained on photos of another size."""
    positions, grid = stored.get(POSITIONS), encoder.embedding.grid
    if positions is None or positions.ndim != 3:
        return stored
    patches = positions.shape[1] - 1
    if patches < 1 or math.isqrt(patches) ** 2 != patches or patches == grid**2:
        return stored
    return stored | {POSITIONS: stretch_positions(positions, grid, grid)}


def _listed(faults: Sequence[str], shown: int = 3) -> str:
    more = f" and {len(faults) - shown} more" if len(faults) > shown else ""
    return ", ".join(faults[:shown]) + more
