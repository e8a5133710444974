"""Model dimensions, read from a checkpoint's `config.json` and checked on the way in.

Field names are Hugging Face's (`ViTConfig`, `GPT2Config`, `BlipTextConfig`), so that a config file and
these classes can be read side by side. Fields that do not change the result of a
forward pass are ignored; fields that would change it and are not supported raise.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.errors import ConfigError
from model.network.layers import ACTIVATIONS


@dataclass(frozen=True, slots=True)
class ConvStemConfig:
    """EfficientNet-Lite dimensions (Tan and Le, 2019, table 1); the defaults are those of Lite2."""

    first_width: int = 32
    stages: tuple[tuple[int, int, int, int, int], ...] = (
        (1, 3, 1, 1, 16),
        (3, 3, 2, 6, 24),
        (3, 5, 2, 6, 48),
        (4, 3, 2, 6, 88),
        (4, 5, 1, 6, 120),
        (5, 5, 2, 6, 208),
        (1, 3, 1, 6, 352),
    )
    """Of each stage: blocks, kernel side, stride of its first block, expansion, channels."""
    width: int = 1280  # channels of the map that it ends with

    def __post_init__(self) -> None:
        where = "encoder.stem"
        _positive(self, where, "first_width width")
        stages = self.stages
        if not stages or any(
            len(stage) != 5 or any(type(n) is not int or n < 1 for n in stage) for stage in stages
        ):
            raise ConfigError(f"{where}.stages is {stages!r}: five positive integers a stage are needed")

    @property
    def stride(self) -> int:
        """Pixels of the photo for each value of the last map, along a side."""
        return 2 * math.prod(stage[2] for stage in self.stages)


@dataclass(frozen=True, slots=True)
class VisionConfig:
    """Vision Transformer dimensions (Dosovitskiy et al., 2021, table 1)."""

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    image_size: int = 224  # pixels; photos are square at the encoder
    patch_size: int = 16  # pixels
    num_channels: int = 3
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-12
    qkv_bias: bool = True
    hidden_dropout_prob: float = 0.0
    attention_probs_dropout_prob: float = 0.0
    layer_scale: bool = False
    """Whether what a layer adds is scaled, channel by channel (Touvron et al., "CaiT", 2021, section 2.1)."""
    stem: ConvStemConfig | None = None
    """Convolutions whose last map is what is cut into patches, of one value each; None: the photo is."""

    def __post_init__(self) -> None:
        where = "encoder"
        _positive(self, where, "hidden_size num_hidden_layers num_attention_heads intermediate_size")
        _positive(self, where, "image_size patch_size")
        _fraction(self, where, "layer_norm_eps hidden_dropout_prob attention_probs_dropout_prob")
        _flag(self, where, "qkv_bias layer_scale")
        _divides(where, "num_attention_heads", self.num_attention_heads, "hidden_size", self.hidden_size)
        _divides(where, "patch_size", self.patch_size, "image_size", self.image_size)
        _known(where, "hidden_act", self.hidden_act, ACTIVATIONS)
        if self.stem is not None and self.patch_size != self.stem.stride:
            raise ConfigError(
                f"encoder.patch_size is {self.patch_size}: the stride of encoder.stem, "
                f"{self.stem.stride}, is needed"
            )
        if self.layer_scale:
            if self.stem is not None:
                raise ConfigError("encoder.layer_scale is true: that and encoder.stem exclude each other")
            # config.json keeps their ratio, a whole number
            _divides(where, "hidden_size", self.hidden_size, "intermediate_size", self.intermediate_size)
        if self.num_channels != 3:
            raise ConfigError(
                f"encoder.num_channels is {self.num_channels}: photos have 3 (red, green, blue)"
            )

    @property
    def grid(self) -> int:
        """Patches along one side of the photo."""
        return self.image_size // self.patch_size


@dataclass(frozen=True, slots=True)
class GPT2Config:
    """GPT-2 dimensions (Radford et al., 2019, section 2.3), with cross-attention."""

    vocab_size: int = 50257
    n_positions: int = 1024
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    n_inner: int | None = None  # None: 4 · n_embd
    activation_function: str = "gelu_new"
    layer_norm_epsilon: float = 1e-5
    scale_attn_weights: bool = True
    scale_attn_by_inverse_layer_idx: bool = False
    embd_pdrop: float = 0.1
    resid_pdrop: float = 0.1
    attn_pdrop: float = 0.1

    def __post_init__(self) -> None:
        where = "decoder"
        _positive(self, where, "vocab_size n_positions n_embd n_layer n_head")
        _fraction(self, where, "layer_norm_epsilon embd_pdrop resid_pdrop attn_pdrop")
        _flag(self, where, "scale_attn_weights scale_attn_by_inverse_layer_idx")
        _divides(where, "n_head", self.n_head, "n_embd", self.n_embd)
        _known(where, "activation_function", self.activation_function, ACTIVATIONS)
        if self.n_inner is not None:
            _positive(self, where, "n_inner")

    @property
    def inner_size(self) -> int:
        """Width of the feed-forward layers."""
        return 4 * self.n_embd if self.n_inner is None else self.n_inner


@dataclass(frozen=True, slots=True)
class BertConfig:
    """BERT dimensions (Devlin et al., 2019, section 3), with cross-attention, as in BLIP.

    The defaults are `BlipTextConfig`'s, which are not all those of the published checkpoints.
    """

    vocab_size: int = 30524
    max_position_embeddings: int = 512
    hidden_size: int = 768
    encoder_hidden_size: int = 768
    """Channels of the image tokens."""
    num_hidden_layers: int = 12
    num_attention_heads: int = 8
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-12
    hidden_dropout_prob: float = 0.0
    attention_probs_dropout_prob: float = 0.0

    def __post_init__(self) -> None:
        where = "decoder"
        _positive(self, where, "vocab_size max_position_embeddings hidden_size encoder_hidden_size")
        _positive(self, where, "num_hidden_layers num_attention_heads intermediate_size")
        _fraction(self, where, "layer_norm_eps hidden_dropout_prob attention_probs_dropout_prob")
        _divides(where, "num_attention_heads", self.num_attention_heads, "hidden_size", self.hidden_size)
        _known(where, "hidden_act", self.hidden_act, ACTIVATIONS)

    @property
    def n_positions(self) -> int:
        """Tokens that a caption may have, the prompt included: GPT-2's name for it."""
        return self.max_position_embeddings


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """A whole captioner: encoder, decoder and the token ids that steer generation."""

    encoder: VisionConfig
    decoder: GPT2Config | BertConfig
    decoder_start_token_id: int
    eos_token_ids: tuple[int, ...]
    pad_token_id: int

    def __post_init__(self) -> None:
        if not self.eos_token_ids:
            raise ConfigError("eos_token_id is missing: generation would never end")
        ids = [("decoder_start_token_id", self.decoder_start_token_id)]
        ids += [("eos_token_id", token) for token in self.eos_token_ids]
        for name, token in [*ids, ("pad_token_id", self.pad_token_id)]:
            if type(token) is not int or not 0 <= token < self.decoder.vocab_size:
                size = self.decoder.vocab_size
                raise ConfigError(f"{name} is {token!r}: one of the vocabulary's {size} ids is needed")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; raises ConfigError naming the file when that is not what it holds."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds {type(content).__name__}, not a JSON object")
    return content


def known_fields(cls: type, raw: Mapping[str, Any]) -> dict[str, Any]:
    """Pick what a dataclass has a field for; the rest of a Hugging Face config is not about shapes."""
    return {name: raw[name] for name in cls.__dataclass_fields__ if name in raw}  # type: ignore[attr-defined]


def require(raw: Mapping[str, Any], prefix: str, key: str, expected: object) -> None:
    """Raise ConfigError unless `raw[key]` is what this code was written for."""
    if raw.get(key) != expected:
        raise ConfigError(f"{prefix}{key} is {raw.get(key)!r}: only {expected!r} is supported")


def _known(where: str, name: str, value: object, known: Mapping[str, object]) -> None:
    if not isinstance(value, str) or value not in known:
        raise ConfigError(f"{where}.{name} is {value!r}: one of {', '.join(sorted(known))} is needed")


def _positive(config: object, where: str, names: str) -> None:
    for name in names.split():
        value = getattr(config, name)
        if type(value) is not int or value < 1:
            raise ConfigError(f"{where}.{name} is {value!r}: a positive integer is needed")


def _flag(config: object, where: str, names: str) -> None:
    for name in names.split():
        value = getattr(config, name)
        if not isinstance(value, bool):
            raise ConfigError(f"{where}.{name} is {value!r}: true or false is needed")


def _fraction(config: object, where: str, names: str) -> None:
    for name in names.split():
        value = getattr(config, name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
            raise ConfigError(f"{where}.{name} is {value!r}: a number from 0 to below 1 is needed")


def _divides(where: str, small: str, divisor: int, large: str, value: int) -> None:
    if value % divisor:
        raise ConfigError(f"{where}.{large} is {value}, which {small} ({divisor}) does not divide")
