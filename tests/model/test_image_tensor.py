"""The tensor of a photo is what transformers' image processor makes of it."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import ViTImageProcessorPil
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

from model.errors import ConfigError
from model.image import ImageConfig, to_tensor
from model.network.config import read_json

CLIP: dict[str, Any] = {"image_mean": [0.481, 0.458, 0.408], "image_std": [0.269, 0.261, 0.276]}


def picture(width: int, height: int) -> Image.Image:
    """Smooth waves with some noise: both filters have work to do."""
    draw = np.random.default_rng(width * 10_000 + height)
    y, x = np.mgrid[:height, :width][..., None]
    waves = 128 + 100 * np.sin(x / 7 + y / 11 + np.array([0, 1, 2])) + draw.normal(0, 20, (height, width, 3))
    return Image.fromarray(waves.clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("size", [(500, 375), (64, 64), (37, 131), (20, 20), (1, 1), (300, 2)])
@pytest.mark.parametrize("resample", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC])
@pytest.mark.parametrize(
    ("processor", "colours"),
    [(ViTImageProcessorPil, {}), (ViTImageProcessorPil, CLIP), (BlipImageProcessorPil, {})],
    ids=["halves", "clip", "blip"],
)
def test_a_photo_becomes_the_tensor_of_transformers(
    size: tuple[int, int],
    resample: Image.Resampling,
    processor: type[ViTImageProcessorPil] | type[BlipImageProcessorPil],
    colours: dict[str, Any],
    tmp_path: Path,
) -> None:
    target = {"height": 64, "width": 48}
    theirs = processor(size=target, resample=resample, **colours)
    theirs.save_pretrained(tmp_path)
    config = ImageConfig.from_dict(read_json(tmp_path / "preprocessor_config.json"))
    ours = to_tensor(picture(*size), config)
    expected = theirs(picture(*size), return_tensors="pt")["pixel_values"][0]
    assert (ours.shape, ours.dtype) == ((3, 64, 48), torch.float32)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)  # one level of 255 is 0.008 or more


@pytest.mark.parametrize("resample", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC])
def test_transformers_reads_the_configuration_that_is_written(
    resample: Image.Resampling, tmp_path: Path
) -> None:
    config = ImageConfig(size=(40, 56), resample=resample, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    theirs = ViTImageProcessorPil(**config.to_dict())
    expected = theirs(picture(99, 77), return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(to_tensor(picture(99, 77), config), expected, rtol=0, atol=1e-5)
    assert ImageConfig.from_dict(config.to_dict()) == config


def test_black_and_white_are_minus_one_and_one() -> None:
    config = ImageConfig(size=(2, 2))
    for colour, value in (("black", -1.0), ("white", 1.0)):
        tensor = to_tensor(Image.new("RGB", (5, 5), colour), config)
        torch.testing.assert_close(tensor, torch.full((3, 2, 2), value))


def test_rescaling_and_normalising_can_be_left_out() -> None:
    config = ImageConfig.from_dict({"size": 2, "do_rescale": False, "do_normalize": False})
    tensor = to_tensor(Image.new("RGB", (5, 5), (10, 20, 30)), config)
    assert tensor[:, 0, 0].tolist() == [10, 20, 30]


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        ({"do_center_crop": True}, "crop"),
        ({"do_resize": False}, "resiz"),
        ({"size": {"shortest_edge": 224}}, "size"),
        ({"size": [224, 224]}, "size"),
        ({"size": "224"}, "size"),
        ({"size": {"height": 0, "width": 224}}, "size"),
        ({"size": {"height": "a", "width": 224}}, "size"),
        ({"resample": 17}, "resample"),
        ({"resample": "bilinear"}, "resample"),
        ({"image_mean": [0.5]}, "image_mean"),
        ({"image_mean": [0.5, math.nan, 0.5]}, "image_mean"),
        ({"image_mean": [0.5, True, 0.5]}, "image_mean"),
        ({"image_std": [0.5, 0.5, math.nan]}, "image_std"),
        ({"image_std": [0.5, 0.5, math.inf]}, "image_std"),
        ({"rescale_factor": math.nan}, "rescale_factor"),
        ({"rescale_factor": False}, "rescale_factor"),
        ({"image_std": [0.5, 0.5]}, "image_std"),
        ({"image_std": [0.5, 0.5, 0.0]}, "image_std"),
        ({"image_mean": 0.5}, "image_mean"),
        ({"image_mean": ["a", "b", "c"]}, "image_mean"),
        ({"rescale_factor": "1/255"}, "rescale_factor"),
    ],
)
def test_what_is_not_supported_is_named(raw: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError, match=field):
        ImageConfig.from_dict(raw)
