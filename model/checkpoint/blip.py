"""BLIP captioning checkpoints (`BlipForConditionalGeneration`): a ViT and a BERT decoder."""

import re
from collections.abc import Mapping
from typing import Any

from model.checkpoint.family import Family, Source, pair, patches
from model.errors import ConfigError
from model.network.config import BertConfig, ModelConfig, VisionConfig, known_fields

MODEL_TYPE = "blip"


def read_config(raw: Mapping[str, Any], generation: Mapping[str, Any]) -> ModelConfig:
    """Content of config.json → config. The token ids of generation_config.json do not count.

    BLIP's captions start with [DEC] and end with [SEP], whatever `eos_token_id` says.
    Raises ConfigError naming the field for an unsupported value.
    """
    vision, text = raw.get("vision_config"), raw.get("text_config")
    if not isinstance(vision, Mapping) or not isinstance(text, Mapping):
        raise ConfigError("config.json needs both a `vision_config` and a `text_config` object")
    # BlipVisionConfig's defaults, and its own name for the attention's dropout.
    vision = {
        "image_size": 384,
        "layer_norm_eps": 1e-5,
        "attention_probs_dropout_prob": vision.get("attention_dropout", 0.0),
    } | dict(vision)
    vision["qkv_bias"] = True  # transformers' BLIP has one, whatever its config says
    encoder = VisionConfig(**known_fields(VisionConfig, vision))
    # The text's own idea of the width of image tokens is wrong in the large checkpoint.
    text = {**text, "encoder_hidden_size": encoder.hidden_size}
    return ModelConfig(
        encoder=encoder,
        decoder=BertConfig(**known_fields(BertConfig, text)),
        decoder_start_token_id=text.get("bos_token_id", 30522),
        eos_token_ids=(text.get("sep_token_id", 102),),
        pad_token_id=text.get("pad_token_id", 0),
    )


def key_table(config: ModelConfig) -> dict[str, Source]:
    """Every weight of the network by its name here, with its source in the file."""
    assert isinstance(config.decoder, BertConfig)
    vision, text = "vision_model", "text_decoder.bert"
    head = "text_decoder.cls.predictions"
    table = {
        "encoder.embedding.class_token": Source((f"{vision}.embeddings.class_embedding",)),
        "encoder.embedding.positions": Source((f"{vision}.embeddings.position_embedding",)),
        **patches("encoder.embedding.projection", f"{vision}.embeddings.patch_embedding", config.encoder),
        **pair("encoder.norm", f"{vision}.post_layernorm"),
        "decoder.embedding.tokens.weight": Source((f"{text}.embeddings.word_embeddings.weight",)),
        "decoder.embedding.positions.weight": Source((f"{text}.embeddings.position_embeddings.weight",)),
        **pair("decoder.embedding.norm", f"{text}.embeddings.LayerNorm"),
        **pair("decoder.head.transform", f"{head}.transform.dense"),
        **pair("decoder.head.norm", f"{head}.transform.LayerNorm"),
        "decoder.head.output.bias": Source((f"{head}.bias",)),
    }
    for layer in range(config.encoder.num_hidden_layers):
        table |= _encoder_layer(f"encoder.blocks.{layer}", f"{vision}.encoder.layers.{layer}")
    for layer in range(config.decoder.num_hidden_layers):
        table |= _decoder_layer(f"decoder.blocks.{layer}", f"{text}.encoder.layer.{layer}")
    return table


def _encoder_layer(ours: str, theirs: str) -> dict[str, Source]:
    return {
        **pair(f"{ours}.norm_attention", f"{theirs}.layer_norm1"),
        **pair(f"{ours}.attention.qkv", f"{theirs}.self_attn.qkv"),
        **pair(f"{ours}.attention.out", f"{theirs}.self_attn.projection"),
        **pair(f"{ours}.norm_mlp", f"{theirs}.layer_norm2"),
        **pair(f"{ours}.mlp.up", f"{theirs}.mlp.fc1"),
        **pair(f"{ours}.mlp.down", f"{theirs}.mlp.fc2"),
    }


def _decoder_layer(ours: str, theirs: str) -> dict[str, Source]:
    own, cross = f"{theirs}.attention", f"{theirs}.crossattention"
    return {
        **pair(f"{ours}.self_attention.qkv", *(f"{own}.self.{part}" for part in ("query", "key", "value"))),
        **pair(f"{ours}.self_attention.out", f"{own}.output.dense"),
        **pair(f"{ours}.norm_self", f"{own}.output.LayerNorm"),
        **pair(f"{ours}.cross_attention.query", f"{cross}.self.query"),
        **pair(f"{ours}.cross_attention.key_value", f"{cross}.self.key", f"{cross}.self.value"),
        **pair(f"{ours}.cross_attention.out", f"{cross}.output.dense"),
        **pair(f"{ours}.norm_cross", f"{cross}.output.LayerNorm"),
        **pair(f"{ours}.mlp.up", f"{theirs}.intermediate.dense"),
        **pair(f"{ours}.mlp.down", f"{theirs}.output.dense"),
        **pair(f"{ours}.norm_mlp", f"{theirs}.output.LayerNorm"),
    }


BLIP = Family(
    read_config=read_config,
    text="text_config",
    key_table=key_table,
    output=("decoder.head.output.weight", Source(("text_decoder.cls.predictions.decoder.weight",))),
    embedding=("decoder.embedding.tokens.weight", "text_decoder.bert.embeddings.word_embeddings.weight"),
    ignored=re.compile(
        r".*\.position_ids"  # 0, 1, 2, …, as old files keep them
        r"|text_decoder\.cls\.predictions\.decoder\.bias"  # the same as predictions.bias
    ),
)
