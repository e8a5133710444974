"""A published image encoder to start from: a ViT or DINOv2 in Hugging Face layout, here or on the hub.

transformers writes such folders of `ViTModel` and `Dinov2Model`; `facebook/dinov2-small` is one.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from archive.errors import ArchiveError
from archive.origin import Origin
from model.checkpoint import read_weight
from model.config import VisionConfig, read_json
from model.encoder import Encoder, stretch_positions
from model.image import ImageConfig
from model.image_encoders import encoder_table, read_encoder
from model.weights import open_weights
from training.errors import DataError

POSITIONS = "embedding.positions"
PREFIXES = ("", "vit.", "dinov2.")
"""What names begin with, in the file of an encoder alone and in that of a classifier."""


@dataclass(frozen=True)
class PublishedEncoder:
    """Dimensions, photo → tensor, and weights by the names of `model.encoder.Encoder`."""

    config: VisionConfig
    image: ImageConfig
    weights: dict[str, Tensor]


def is_published(start: Path) -> bool:
    """Tell a folder, or an OWNER/NAME of the hub, from the file that `training.pretrain` writes."""
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
    config = read_encoder(read_json(folder / "config.json"), "")
    weights = _weights(config, folder)
    size -= size % config.patch_size
    if size < config.patch_size:
        raise DataError(f"encoder {start}: photos of {size} pixels have no patch of {config.patch_size}")
    config = replace(config, image_size=size)
    if weights[POSITIONS].shape[1] != 1 + config.grid**2:
        weights[POSITIONS] = stretch_positions(weights[POSITIONS], config.grid, config.grid)
    return PublishedEncoder(config, _image(folder, size), weights)


def _weights(config: VisionConfig, folder: Path) -> dict[str, Tensor]:
    stored = open_weights(folder)
    tables = [encoder_table(config, prefix) for prefix in PREFIXES]
    lacking = [
        [name for source in table.values() for name in source.names if name not in stored] for table in tables
    ]
    fewest = min(lacking, key=len)
    if fewest:
        raise DataError(f"encoder {folder} lacks {', '.join(fewest[:3])}{' …' if len(fewest) > 3 else ''}")
    table = tables[lacking.index(fewest)]
    weights = {
        ours.removeprefix("encoder."): read_weight(stored, source, torch.float32)
        for ours, source in table.items()
    }
    with torch.device("meta"):
        wanted = Encoder(config).state_dict()
    for name, weight in weights.items():
        if weight.shape != wanted[name].shape:
            shape = tuple(wanted[name].shape)
            raise DataError(f"encoder {folder}: {name} is {tuple(weight.shape)} instead of {shape}")
    return weights


def _image(folder: Path, size: int) -> ImageConfig:
    """Take filter and normalisation of an encoder's own preprocessor, where the folder has one."""
    path = folder / "preprocessor_config.json"
    raw = read_json(path) if path.is_file() else {}
    squashed = {"do_center_crop": False, "do_resize": True, "size": {"height": size, "width": size}}
    return ImageConfig.from_dict(raw | squashed)
