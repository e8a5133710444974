"""A published image encoder to start from: a ViT or DINOv2 in Hugging Face layout, here or on the hub.

transformers writes such folders of `ViTModel` and `Dinov2Model`; `facebook/dinov2-small` is one.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from archive.errors import ArchiveError
from archive.origin import Origin
from model.checkpoint.folder import check_keys, read_weight
from model.checkpoint.image_encoders import encoder_table, ignored, read_encoder
from model.checkpoint.weights import Weight, open_weights
from model.errors import ConfigError, WeightsError
from model.image import ImageConfig
from model.network.config import VisionConfig, read_json
from model.network.encoder import Encoder, stretch_positions
from training.errors import DataError

POSITIONS = "embedding.positions"
PREFIXES = ("", "vit.", "dinov2.")
"""What names begin with, in the file of an encoder alone and in that of a classifier."""
PARTS = ("embeddings.", "encoder.", "layernorm.")
"""What comes next in the names of the encoder itself."""


@dataclass(frozen=True)
class PublishedEncoder:
    """Dimensions, photo → tensor, and weights by the names of `model.encoder.Encoder`."""

    config: VisionConfig
    image: ImageConfig
    weights: dict[str, Tensor]
    folder: Path  # where it lies here


def is_published(start: Path) -> bool:
    """Tell a folder, or an OWNER/NAME of the hub, from the file that `training.stages.pretrain` writes."""
    return start.suffix != ".safetensors"


def read_published(start: Path, size: int) -> PublishedEncoder:
    """Read an encoder for photos of about size × size pixels, to which its positions are stretched.

    The size is rounded down to whole patches. What a classifier has on top is left out; photos are
    squashed, not cropped. Raises DataError or CheckpointError with one line for what cannot be found or
    does not fit.
    """
    try:
        folder = Origin.of(str(start), None).folder
    except ArchiveError as error:
        raise DataError(f"encoder {error}") from None
    try:
        config = read_encoder(read_json(folder / "config.json"), "")
    except ConfigError as error:
        raise DataError(f"encoder {start}: {error}") from None
    misfit = f"the weights of encoder {start} do not fit its config.json"
    weights = encoder_weights(open_weights(folder), config, misfit)
    if size < config.patch_size:
        raise DataError(f"encoder {start}: photos of {size} pixels have no patch of {config.patch_size}")
    size -= size % config.patch_size
    config = replace(config, image_size=size)
    if weights[POSITIONS].shape[1] != 1 + config.grid**2:
        weights[POSITIONS] = stretch_positions(weights[POSITIONS], config.grid, config.grid)
    return PublishedEncoder(config, _image(folder, size), weights, folder)


def encoder_weights(stored: Mapping[str, Weight], config: VisionConfig, misfit: str) -> dict[str, Tensor]:
    """Weights in transformers' names → float32, by the names of `model.encoder.Encoder`.

    What is no part of the encoder itself is left out: a classifier, a pooler, the head of a pretraining.
    Raises WeightsError, which lists all keys that are missing, unknown or misshapen after `misfit`.
    """
    prefix = next((prefix for prefix in PREFIXES if f"{prefix}embeddings.cls_token" in stored), None)
    if prefix is None:
        raise WeightsError(f"{misfit}: embeddings.cls_token, which a ViT and a DINOv2 have, is missing")
    with torch.device("meta"):
        shapes = {f"encoder.{name}": weight.shape for name, weight in Encoder(config).named_parameters()}
    table = encoder_table(config, prefix)
    own = tuple(prefix + part for part in PARTS)
    unread = re.compile(ignored(prefix))
    spare = {name for name in stored if not name.startswith(own) or unread.fullmatch(name)}
    check_keys(stored, table, shapes, spare, misfit)
    return {
        ours.removeprefix("encoder."): read_weight(stored, source, torch.float32)
        for ours, source in table.items()
    }


def _image(folder: Path, size: int) -> ImageConfig:
    """Take filter and normalisation of an encoder's own preprocessor, where the folder has one."""
    path = folder / "preprocessor_config.json"
    raw = read_json(path) if path.is_file() else {}
    squashed = {"do_center_crop": False, "do_resize": True, "size": {"height": size, "width": size}}
    return ImageConfig.from_dict(raw | squashed)
