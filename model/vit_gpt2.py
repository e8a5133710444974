"""Hugging Face VisionEncoderDecoder checkpoints of a ViT and a GPT-2."""

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from model.config import ConvStemConfig, GPT2Config, ModelConfig, VisionConfig, known_fields, require
from model.errors import ConfigError
from model.family import Family, Source, pair

MODEL_TYPE = "vision-encoder-decoder"
HYBRID = "hybrid-vit"
"""`model_type` of a ViT on convolutions, which transformers has not: its code lies beside the weights."""
MODELLING_FILE = "modeling_hybrid_vit.py"
ENCODERS = ("vit", HYBRID)
TOKEN_IDS = ("decoder_start_token_id", "bos_token_id", "eos_token_id", "pad_token_id")


def read_config(raw: Mapping[str, Any], generation: Mapping[str, Any]) -> ModelConfig:
    """Contents of config.json and generation_config.json → config.

    Raises ConfigError naming the field for another architecture or an unsupported value.
    """
    encoder, decoder = raw.get("encoder"), raw.get("decoder")
    if not isinstance(encoder, Mapping) or not isinstance(decoder, Mapping):
        raise ConfigError("config.json needs both an `encoder` and a `decoder` object")
    if encoder.get("model_type") not in ENCODERS:
        known = " or ".join(map(repr, ENCODERS))
        raise ConfigError(f"encoder.model_type is {encoder.get('model_type')!r}: only {known} is supported")
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
        encoder=_read_encoder(encoder),
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


def _read_encoder(raw: Mapping[str, Any]) -> VisionConfig:
    fields = known_fields(VisionConfig, raw) | {"stem": None}
    if raw["model_type"] == HYBRID:
        stem = raw.get("stem")
        if not isinstance(stem, Mapping):
            raise ConfigError(f"encoder.stem is {stem!r}: an object is needed")
        known = known_fields(ConvStemConfig, stem)
        if "stages" in known:
            try:
                known["stages"] = tuple(map(tuple, known["stages"]))
            except TypeError:
                raise ConfigError(
                    f"encoder.stem.stages is {known['stages']!r}: a list of lists is needed"
                ) from None
        fields["stem"] = ConvStemConfig(**known)
    return VisionConfig(**fields)


def _write_encoder(config: VisionConfig) -> dict[str, Any]:
    fields = asdict(config)
    if config.stem is None:
        del fields["stem"]
    return {"model_type": "vit" if config.stem is None else HYBRID, **fields}


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
        "encoder": _write_encoder(config.encoder),
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
        "encoder.embedding.class_token": Source(("encoder.embeddings.cls_token",)),
        "encoder.embedding.positions": Source(("encoder.embeddings.position_embeddings",)),
        **pair("encoder.embedding.projection", "encoder.embeddings.patch_embeddings.projection"),
        **_stem(config.encoder.stem),
        **pair("encoder.norm", "encoder.layernorm"),
        "decoder.embedding.tokens.weight": Source(("decoder.transformer.wte.weight",)),
        "decoder.embedding.positions.weight": Source(("decoder.transformer.wpe.weight",)),
        **pair("decoder.head.norm", "decoder.transformer.ln_f"),
    }
    for layer in range(config.encoder.num_hidden_layers):
        table |= _encoder_layer(f"encoder.blocks.{layer}", f"encoder.encoder.layer.{layer}")
        if not config.encoder.qkv_bias:
            del table[f"encoder.blocks.{layer}.attention.qkv.bias"]
    for layer in range(config.decoder.n_layer):
        table |= _decoder_layer(f"decoder.blocks.{layer}", f"decoder.transformer.h.{layer}")
    if config.encoder.hidden_size != config.decoder.n_embd:
        table |= pair("projection", "enc_to_dec_proj")
    return table


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
        table |= pair(f"encoder.embedding.stem.{layer}", f"encoder.embeddings.patch_embeddings.stem.{layer}")
    return table


def _encoder_layer(ours: str, theirs: str) -> dict[str, Source]:
    attention = f"{theirs}.attention.attention"
    return {
        **pair(f"{ours}.norm_attention", f"{theirs}.layernorm_before"),
        **pair(f"{ours}.attention.qkv", *(f"{attention}.{part}" for part in ("query", "key", "value"))),
        **pair(f"{ours}.attention.out", f"{theirs}.attention.output.dense"),
        **pair(f"{ours}.norm_mlp", f"{theirs}.layernorm_after"),
        **pair(f"{ours}.mlp.up", f"{theirs}.intermediate.dense"),
        **pair(f"{ours}.mlp.down", f"{theirs}.output.dense"),
    }


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
    embedding="decoder.transformer.wte.weight",
    ignored=re.compile(
        r"encoder\.pooler\.dense\.(weight|bias)"  # made for classification; captioning never reads it
        r"|decoder\.transformer\.h\.\d+\.(attn|crossattention)\.(bias|masked_bias)"  # old causal masks
    ),
)
