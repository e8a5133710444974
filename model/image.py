"""Photo bytes → normalised tensor.

Pillow decodes and resizes, because a tensor resize gives other values than the processors
that published checkpoints were trained with.
"""

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from model.errors import ConfigError, ImageTooLarge, NotAnImage, TooManyScans
from model.jpeg import count_scans

Image.init()  # registers all readers; `Image.open(formats=…)` knows only registered ones
FORMATS = tuple(name for name in ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "TIFF", "BMP") if name in Image.OPEN)
"""What is decoded: photo formats only. Pillow's other readers widen what hostile bytes can reach."""

MAX_PIXELS = 50_000_000
"""Default bound on width × height: above phone cameras' usual 48 MP, 150 MB once decoded."""

MAX_SCANS = 100
"""Bound on the scans of a progressive JPEG; the usual encoders make 10."""

STRIP = 64
"""Rows of more than 8 bits that are converted at once."""


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """The fields of `preprocessor_config.json` that describe a ViT's input."""

    size: tuple[int, int] = (224, 224)
    """Height and width in pixels that the photo is squashed to."""
    resample: Image.Resampling = Image.Resampling.BILINEAR
    rescale_factor: float = 1 / 255
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    """Subtracted per channel after rescaling."""
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    """Divided by per channel."""

    def __post_init__(self) -> None:
        if any(type(side) is not int or side < 1 for side in self.size):
            raise ConfigError(f"size is {self.size}: positive numbers of pixels are needed")
        for name, values in (("image_mean", self.mean), ("image_std", self.std)):
            if len(values) != 3 or not all(map(_is_number, values)):
                raise ConfigError(f"{name} is {values}: three numbers are needed")
        if min(self.std) <= 0:
            raise ConfigError(f"image_std is {self.std}: numbers above 0 are needed")
        if not _is_number(self.rescale_factor):
            raise ConfigError(f"rescale_factor is {self.rescale_factor!r}: a number is needed")

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> "ImageConfig":
        """Read the content of `preprocessor_config.json`; raises ConfigError for what is not supported."""
        if raw.get("do_center_crop") or not raw.get("do_resize", True):
            raise ConfigError("preprocessor_config.json: only plain resizing is supported, no cropping")
        size = raw.get("size", {"height": 224, "width": 224})
        if isinstance(size, int):
            size = {"height": size, "width": size}
        if not isinstance(size, Mapping) or set(size) != {"height", "width"}:
            raise ConfigError(f"preprocessor_config.json: size is {size!r}: height and width are needed")
        try:
            resample = Image.Resampling(raw.get("resample", Image.Resampling.BILINEAR))
        except ValueError as error:
            raise ConfigError(f"preprocessor_config.json: resample: {error}") from None
        normalise = raw.get("do_normalize", True)
        return cls(
            size=(size["height"], size["width"]),
            resample=resample,
            rescale_factor=raw.get("rescale_factor", 1 / 255) if raw.get("do_rescale", True) else 1.0,
            mean=_channels(raw, "image_mean") if normalise else (0.0,) * 3,
            std=_channels(raw, "image_std") if normalise else (1.0,) * 3,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the content of a `preprocessor_config.json` that transformers reads, too."""
        return {
            "image_processor_type": "ViTImageProcessor",
            "do_resize": True,
            "size": {"height": self.size[0], "width": self.size[1]},
            "resample": int(self.resample),
            "do_rescale": True,
            "rescale_factor": self.rescale_factor,
            "do_normalize": True,
            "image_mean": list(self.mean),
            "image_std": list(self.std),
        }


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _channels(raw: Mapping[str, Any], name: str) -> tuple[float, ...]:
    values = raw.get(name, (0.5,) * 3)
    if not isinstance(values, list | tuple):
        raise ConfigError(f"preprocessor_config.json: {name} is {values!r}: three numbers are needed")
    return tuple(values)


def decode(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Photo bytes → upright RGB image; transparency over white, the first frame of an animation.

    Raises ImageTooLarge before any pixel is decoded, NotAnImage for everything that fails.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        _check_size(image, max_pixels)
        if image.format in ("JPEG", "MPO") and count_scans(data, MAX_SCANS) > MAX_SCANS:
            raise TooManyScans(f"the photo has more than the {MAX_SCANS} scans allowed")
        image.load()
        return to_rgb(upright(image))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageTooLarge(f"the photo has more than the {max_pixels} pixels allowed") from None
    except ImageTooLarge:
        raise
    except Exception as error:  # Pillow's readers raise almost anything on broken data
        names = ", ".join(FORMATS)
        raise NotAnImage(f"the data is no photo that can be decoded; known formats are {names}") from error


def _check_size(image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise ImageTooLarge(f"the photo has {width} × {height} pixels; at most {max_pixels} are allowed")


def upright(image: Image.Image) -> Image.Image:
    """Turn and mirror as the EXIF orientation says; broken EXIF data counts as none."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # the same holds for its EXIF parser; the pixels are good
        return image


def to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow mode → RGB: 8 bits a channel, transparency over white."""
    if image.mode.startswith(("I", "F")):
        image = to_eight_bits(image)
    if image.mode == "La":  # premultiplied; Pillow converts it to nothing but LA
        image = image.convert("LA")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        image = Image.alpha_composite(white, rgba)
    return image.convert("RGB")


def to_eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits or float → 8 bits.

    Integers that fit in 16 bits are scaled by 1/257. Wider ones, and floats, have no agreed
    white: their darkest value becomes black, their brightest white.
    """
    values = np.asarray(image)
    if image.mode == "F":
        values = np.nan_to_num(values, posinf=0, neginf=0)
    low, high = float(values.min()), float(values.max())
    if image.mode != "F" and low >= 0 and high <= 65535:
        low, high = 0.0, 65535.0
    scale = 255 / (high - low) if high > low else 0.0
    scaled = np.empty(values.shape, np.uint8)
    for first in range(0, len(values), STRIP):  # of the whole photo, float64 would be 400 MB
        strip = values[first : first + STRIP].astype(np.float64)
        scaled[first : first + STRIP] = np.rint((strip - low) * scale)
    grey = Image.fromarray(scaled)
    transparent = image.info.get("transparency")
    if transparent is not None:  # the one value, of 16 bits, that a PNG calls transparent
        grey.putalpha(Image.fromarray(values != transparent))
    return grey


def to_tensor(image: Image.Image, config: ImageConfig) -> Tensor:
    """Pillow RGB image → normalised float32 (3, height, width) of the configured size."""
    height, width = config.size
    resized = image.resize((width, height), config.resample)
    pixels = torch.from_numpy(np.array(resized)).permute(2, 0, 1).float()  # (3, height, width), 0 … 255
    mean = torch.tensor(config.mean).view(3, 1, 1)
    std = torch.tensor(config.std).view(3, 1, 1)
    return (pixels * config.rescale_factor - mean) / std
