"""Hugging Face VisionEncoderDecoder checkpoints of a ViT, of any kind in `image_encoders`, and a GPT-2."""

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from model.checkpoint.family import Family, Source, pair
from model.checkpoint.image_encoders import encoder_table, ignored, read_encoder, write_encoder
from model.errors import ConfigError
from model.network.config import GPT2Config, ModelConfig, known_fields, require

MODEL_TYPE = "vision-encoder-decoder"
MODELLING_FILE = "modeling_hybrid_vit.py"
"""Code that transformers needs for a hybrid encoder."""
TOKEN_IDS = ("decoder_start_token_id", "bos_token_id", "eos_token_id", "pad_token_id")


def read_config(raw: Mapping[str, Any], generation: Mapping[str, Any]) -> ModelConfig:
    """Contents of config.json and generation_config.json → config.

    Raises ConfigError naming the field for another architecture or an unsupported value.
    """
    encoder, decoder = raw.get("encoder"), raw.get("decoder")
    if not isinstance(encoder, Mapping) or not isinstance(decoder, Mapping):
        raise ConfigError("config.json needs both an `encoder` and a `decoder` object")
    require(decoder, "decoder.", "model_type", "gpt2")
    require(decoder, "decoder.", "add_cross_attention", True)

    # As in transformers: generation settings win over the model's, those over GPT-2's own.
    places = (generation, raw, decoder)
    ids = {
        name: next((place[name] for place in places if place.get(name) is not None), None)
        for name in TOKEN_IDS
    }
    start = ids["bos_token_id"] if ids["decoder_start_token_id"] is None else ids["decoder_start_token_id"]
    if start is None:
        raise ConfigError("decoder_start_token_id is missing, and so is bos_token_id")
    eos = ids["eos_token_id"]
    eos_ids = tuple(eos) if isinstance(eos, list) else () if eos is None else (eos,)
    pad = eos_ids[0] if ids["pad_token_id"] is None and eos_ids else ids["pad_token_id"]
    return ModelConfig(
        encoder=read_encoder(encoder),
        decoder=GPT2Config(**known_fields(GPT2Config, decoder)),
        decoder_start_token_id=start,
        eos_token_ids=eos_ids,
        pad_token_id=start if pad is None else pad,
    )


def _classes(config: ModelConfig) -> dict[str, Any]:
    """Tell transformers which classes to load."""
    if config.encoder.stem is None:
        return {"architectures": ["VisionEncoderDecoderModel"]}
    file = MODELLING_FILE.removesuffix(".py")
    return {
        "architectures": ["HybridCaptioner"],
        "auto_map": {
            "AutoConfig": f"{file}.HybridCaptionerConfig",
            "AutoModelForImageTextToText": f"{file}.HybridCaptioner",
        },
    }


def write_config(config: ModelConfig) -> dict[str, Any]:
    """Return the content of a config.json that transformers reads, too."""
    eos = config.eos_token_ids
    ids = {
        "decoder_start_token_id": config.decoder_start_token_id,
        "bos_token_id": config.decoder_start_token_id,
        "eos_token_id": eos[0] if len(eos) == 1 else list(eos),
        "pad_token_id": config.pad_token_id,
    }
    return {
        **_classes(config),
        "model_type": MODEL_TYPE,
        "is_encoder_decoder": True,
        "tie_word_embeddings": False,  # of encoder and decoder as a whole; see the decoder's own
        **ids,
        "encoder": write_encoder(config.encoder),
        "decoder": {
            "model_type": "gpt2",
            "is_decoder": True,
            "add_cross_attention": True,
            "tie_word_embeddings": True,
            **ids,
            **asdict(config.decoder),
        },
    }


def key_table(config: ModelConfig) -> dict[str, Source]:
    """Every weight of the network by its name here, with its source in the file."""
    assert isinstance(config.decoder, GPT2Config)
    table = {
        **encoder_table(config.encoder),
        "decoder.embedding.tokens.weight": Source(("decoder.transformer.wte.weight",)),
        "decoder.embedding.positions.weight": Source(("decoder.transformer.wpe.weight",)),
        **pair("decoder.head.norm", "decoder.transformer.ln_f"),
    }
    for layer in range(config.decoder.n_layer):
        table |= _decoder_layer(f"decoder.blocks.{layer}", f"decoder.transformer.h.{layer}")
    if config.encoder.hidden_size != config.decoder.n_embd:
        table |= pair("projection", "enc_to_dec_proj")
    return table


def _decoder_layer(ours: str, theirs: str) -> dict[str, Source]:
    cross = f"{theirs}.crossattention"
    return {
        **pair(f"{ours}.norm_self", f"{theirs}.ln_1"),
        **pair(f"{ours}.self_attention.qkv", f"{theirs}.attn.c_attn", transposed=True),
        **pair(f"{ours}.self_attention.out", f"{theirs}.attn.c_proj", transposed=True),
        **pair(f"{ours}.norm_cross", f"{theirs}.ln_cross_attn"),
        **pair(f"{ours}.cross_attention.query", f"{cross}.q_attn", transposed=True),
        **pair(f"{ours}.cross_attention.key_value", f"{cross}.c_attn", transposed=True),
        **pair(f"{ours}.cross_attention.out", f"{cross}.c_proj", transposed=True),
        **pair(f"{ours}.norm_mlp", f"{theirs}.ln_2"),
        **pair(f"{ours}.mlp.up", f"{theirs}.mlp.c_fc", transposed=True),
        **pair(f"{ours}.mlp.down", f"{theirs}.mlp.c_proj", transposed=True),
    }


VIT_GPT2 = Family(
    read_config=read_config,
    text="decoder",
    key_table=key_table,
    output=("decoder.head.output.weight", Source(("decoder.lm_head.weight",))),
    embedding=("decoder.embedding.tokens.weight", "decoder.transformer.wte.weight"),
    ignored=re.compile(
        ignored("encoder.")
        + r"|decoder\.transformer\.h\.\d+\.(attn|crossattention)\.(bias|masked_bias)"  # old causal masks
    ),
)
