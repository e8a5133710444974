"""The encoders that a VisionEncoderDecoder checkpoint may have: their configs, and their weights' names.

vit         Dosovitskiy et al., 2021
dinov2      a ViT with layer scale (Oquab et al., "DINOv2", 2023)
hybrid-vit  a ViT on the convolutions of `conv_stem`; transformers has none: its code lies beside the weights
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from model.checkpoint.family import Source, pair, patches
from model.errors import ConfigError
from model.network.config import ConvStemConfig, VisionConfig, known_fields

VIT, DINOV2, HYBRID = "vit", "dinov2", "hybrid-vit"
"""`model_type` of each."""

IGNORED = r"pooler\.dense\.(weight|bias)|embeddings\.mask_token"
"""Weights of an encoder that captioning never reads: made for classification, and for pretraining."""


def read_encoder(raw: Mapping[str, Any], where: str = "encoder.") -> VisionConfig:
    """Contents of an encoder's config, or of a captioner's `encoder`, → config.

    Raises ConfigError naming the field for another architecture or an unsupported value.
    """
    kind = raw.get("model_type")
    if kind not in (VIT, DINOV2, HYBRID):
        known = ", ".join(map(repr, (VIT, DINOV2, HYBRID)))
        raise ConfigError(f"{where}model_type is {kind!r}: one of {known} is needed")
    fields = known_fields(VisionConfig, raw) | {"layer_scale": kind == DINOV2, "stem": None}
    if kind == HYBRID:
        fields["stem"] = _read_stem(raw.get("stem"), where)
    if kind == DINOV2:
        fields |= _dinov2_fields(raw, where)
    return VisionConfig(**fields)


def write_encoder(config: VisionConfig) -> dict[str, Any]:
    """Return what transformers reads: the `encoder` of a captioner's config.json."""
    fields = asdict(config)
    stem, layer_scale = fields.pop("stem"), fields.pop("layer_scale")
    if stem is not None:
        return {"model_type": HYBRID, **fields, "stem": stem}
    if layer_scale:
        fields["mlp_ratio"] = fields.pop("intermediate_size") // config.hidden_size
        return {"model_type": DINOV2, **fields, "use_mask_token": False}  # else transformers draws one
    return {"model_type": VIT, **fields}


def encoder_table(config: VisionConfig, prefix: str = "encoder.") -> dict[str, Source]:
    """Every weight of the encoder by its name here, with its source under `prefix` in the file."""
    table = {
        "embedding.class_token": Source(("embeddings.cls_token",)),
        "embedding.positions": Source(("embeddings.position_embeddings",)),
        **patches("embedding.projection", "embeddings.patch_embeddings.projection", config),
        **_stem(config.stem),
        **pair("norm", "layernorm"),
    }
    layer = _dinov2_layer if config.layer_scale else _vit_layer
    for index in range(config.num_hidden_layers):
        table |= layer(f"blocks.{index}", f"encoder.layer.{index}")
        if not config.qkv_bias:
            del table[f"blocks.{index}.attention.qkv.bias"]
    return {
        f"encoder.{ours}": replace(source, names=tuple(prefix + name for name in source.names))
        for ours, source in table.items()
    }


def ignored(prefix: str) -> str:
    """Make the pattern of names under `prefix` that are passed over."""
    return rf"{re.escape(prefix)}({IGNORED})"


def _read_stem(raw: object, where: str) -> ConvStemConfig:
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{where}stem is {raw!r}: an object is needed")
    fields = known_fields(ConvStemConfig, raw)
    if "stages" in fields:
        try:
            fields["stages"] = tuple(map(tuple, fields["stages"]))
        except TypeError:
            raise ConfigError(
                f"{where}stem.stages is {fields['stages']!r}: a list of lists is needed"
            ) from None
    return ConvStemConfig(**fields)


def _dinov2_fields(raw: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Fields whose names or defaults are not a ViT's."""
    if raw.get("use_swiglu_ffn"):
        raise ConfigError(f"{where}use_swiglu_ffn is true: only the plain feed-forward layers are supported")
    width, ratio = raw.get("hidden_size", 768), raw.get("mlp_ratio", 4)
    if type(ratio) not in (int, float) or not ratio > 0 or ratio % 1:
        raise ConfigError(f"{where}mlp_ratio is {ratio!r}: a whole number above 0 is needed")
    inner = {"intermediate_size": width * int(ratio)} if type(width) is int else {}
    return {
        "patch_size": raw.get("patch_size", 14),
        "layer_norm_eps": raw.get("layer_norm_eps", 1e-6),
        **inner,
    }


def _stem(config: ConvStemConfig | None) -> dict[str, Source]:
    if config is None:
        return {}
    layers = ["first", "last"]
    expansions = [stage[3] for stage in config.stages for _ in range(stage[0])]
    for index, expansion in enumerate(expansions):
        parts = ("expand", "depthwise", "project") if expansion > 1 else ("depthwise", "project")
        layers += [f"blocks.{index}.{part}" for part in parts]
    table: dict[str, Source] = {}
    for layer in layers:
        table |= pair(f"embedding.stem.{layer}", f"embeddings.patch_embeddings.stem.{layer}")
    return table


def _vit_layer(ours: str, theirs: str) -> dict[str, Source]:
    attention = f"{theirs}.attention.attention"
    return {
        **pair(f"{ours}.norm_attention", f"{theirs}.layernorm_before"),
        **pair(f"{ours}.attention.qkv", *(f"{attention}.{part}" for part in ("query", "key", "value"))),
        **pair(f"{ours}.attention.out", f"{theirs}.attention.output.dense"),
        **pair(f"{ours}.norm_mlp", f"{theirs}.layernorm_after"),
        **pair(f"{ours}.mlp.up", f"{theirs}.intermediate.dense"),
        **pair(f"{ours}.mlp.down", f"{theirs}.output.dense"),
    }


def _dinov2_layer(ours: str, theirs: str) -> dict[str, Source]:
    attention = f"{theirs}.attention.attention"
    return {
        **pair(f"{ours}.norm_attention", f"{theirs}.norm1"),
        **pair(f"{ours}.attention.qkv", *(f"{attention}.{part}" for part in ("query", "key", "value"))),
        **pair(f"{ours}.attention.out", f"{theirs}.attention.output.dense"),
        f"{ours}.scale_attention": Source((f"{theirs}.layer_scale1.lambda1",)),
        **pair(f"{ours}.norm_mlp", f"{theirs}.norm2"),
        **pair(f"{ours}.mlp.up", f"{theirs}.mlp.fc1"),
        **pair(f"{ours}.mlp.down", f"{theirs}.mlp.fc2"),
        f"{ours}.scale_mlp": Source((f"{theirs}.layer_scale2.lambda1",)),
    }
