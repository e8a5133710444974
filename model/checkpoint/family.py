"""What has to be known of a kind of checkpoint to load it: its config and the names of its weights."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from model.network.config import ModelConfig, VisionConfig


@dataclass(frozen=True, slots=True)
class Source:
    """Where one weight comes from: `names` in the file, put one below the other.

    `transposed`: the file holds (in, out), as GPT-2's Conv1D does, and here it is (out, in).
    `unfolded`: the file holds (out, *unfolded), as a convolution does, and here it is (out, in).
    """

    names: tuple[str, ...]
    transposed: bool = False
    unfolded: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of checkpoint that can be served."""

    read_config: Callable[[Mapping[str, Any], Mapping[str, Any]], ModelConfig]
    """Contents of config.json and generation_config.json → config. Raises ConfigError."""
    text: str
    """The object in config.json that describes the decoder."""
    key_table: Callable[[ModelConfig], dict[str, Source]]
    """Every weight of the network by its name here, the output layer's own one left out."""
    output: tuple[str, Source]
    """The output layer's own weight, which exists only where it is not tied to `embedding`."""
    embedding: tuple[str, str]
    """The token embedding's name here, and in the file."""
    ignored: re.Pattern[str]
    """Names in the file that no caption depends on."""

    def generation_settings(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Collect the search options in a config.json, for a checkpoint that keeps them there."""
        return {**raw[self.text], **{name: value for name, value in raw.items() if value is not None}}


def pair(ours: str, *theirs: str, transposed: bool = False) -> dict[str, Source]:
    """Make the entries of a layer that has `weight` and `bias`."""
    return {
        f"{ours}.weight": Source(tuple(f"{name}.weight" for name in theirs), transposed),
        f"{ours}.bias": Source(tuple(f"{name}.bias" for name in theirs)),
    }


def patches(ours: str, theirs: str, config: VisionConfig) -> dict[str, Source]:
    """Make the entries of a patch embedding: a convolution without overlap in the file, linear here."""
    side, channels = config.patch_size, config.num_channels
    if config.stem is not None:
        side, channels = 1, config.stem.width
    return {
        f"{ours}.weight": Source((f"{theirs}.weight",), unfolded=(channels, side, side)),
        f"{ours}.bias": Source((f"{theirs}.bias",)),
    }
