"""The network that a run starts with: a new one of the recipe's dimensions, or a checkpoint's."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from model.checkpoint import Checkpoint, load_checkpoint
from model.config import GPT2Config, ModelConfig
from model.encoder import Encoder, stretch_positions
from model.image import ImageConfig
from model.network import CaptionModel
from model.options import GenerationOptions
from model.tokenizer import Tokenizer
from training.captions import CaptionSet, normalise
from training.errors import DataError, RecipeError
from training.initialise import initialise
from training.published import PublishedEncoder
from training.train_recipe import TrainRecipe
from training.vocabulary import digest, end_token, learn_vocabulary

POSITIONS = "embedding.positions"  # (1, 1 + patches, C)


def new_network(
    recipe: TrainRecipe, captions: CaptionSet, published: PublishedEncoder | None = None
) -> Checkpoint:
    """Learn a vocabulary from captions and draw a new network's weights; a published encoder has its own."""
    encoder = recipe.encoder if published is None else published.config
    if encoder is None or recipe.decoder is None:
        raise RecipeError(
            "the recipe has no encoder and decoder: a checkpoint to start from is needed (INIT)"
        )
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


def old_network(recipe: TrainRecipe, folder: Path) -> Checkpoint:
    """Load a checkpoint to go on from; tokenizer, image config and architecture are its own.

    Raises RecipeError when the recipe has another architecture, DataError for a checkpoint that
    cannot be written again.
    """
    if recipe.decoder is not None:
        raise RecipeError(
            f"{folder} brings its own encoder and decoder: leave both out of the recipe, "
            "as in training/recipes/fine-tune.yaml"
        )
    found = load_checkpoint(folder, dtype=torch.float32)
    decoder = found.model.config.decoder
    if not isinstance(decoder, GPT2Config):
        raise DataError(f"{folder} cannot be trained: only checkpoints of a ViT and a GPT-2 can be written")
    if found.image.size[0] != found.image.size[1]:
        raise DataError(f"{folder} cannot be trained: its photos are {found.image.size}, not square")
    if recipe.max_tokens > decoder.n_positions:
        raise RecipeError(f"max_tokens: more than the {decoder.n_positions} positions of {folder}")
    return replace(found, options=recipe.search or found.options)


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
