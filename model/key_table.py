"""Names of the weights in a Hugging Face VisionEncoderDecoder file (ViT + GPT-2) → names here."""

import re
from dataclasses import dataclass

from model.config import ModelConfig

OUTPUT = "decoder.output.weight"
"""The output layer's own weight, which exists only where it is not tied to the embedding."""

IGNORED = re.compile(
    r"encoder\.pooler\.dense\.(weight|bias)"  # made for classification; captioning never reads it
    r"|decoder\.transformer\.h\.\d+\.(attn|crossattention)\.(bias|masked_bias)"  # old files' causal masks
)


@dataclass(frozen=True, slots=True)
class Source:
    """Where one weight comes from: `names` in the file, put one below the other.

    `transposed`: the file holds (in, out), as GPT-2's Conv1D does, and here it is (out, in).
    """

    names: tuple[str, ...]
    transposed: bool = False


def key_table(config: ModelConfig, *, tied: bool) -> dict[str, Source]:
    """Every weight of `CaptionModel(config, tied=tied)` with its source in the file."""
    table = {
        "encoder.embedding.class_token": Source(("encoder.embeddings.cls_token",)),
        "encoder.embedding.positions": Source(("encoder.embeddings.position_embeddings",)),
        **_pair("encoder.embedding.projection", "encoder.embeddings.patch_embeddings.projection"),
        **_pair("encoder.norm", "encoder.layernorm"),
        "decoder.token_embedding.weight": Source(("decoder.transformer.wte.weight",)),
        "decoder.position_embedding.weight": Source(("decoder.transformer.wpe.weight",)),
        **_pair("decoder.norm", "decoder.transformer.ln_f"),
    }
    for layer in range(config.encoder.num_hidden_layers):
        table |= _encoder_layer(
            f"encoder.blocks.{layer}", f"encoder.encoder.layer.{layer}", qkv_bias=config.encoder.qkv_bias
        )
    for layer in range(config.decoder.n_layer):
        table |= _decoder_layer(f"decoder.blocks.{layer}", f"decoder.transformer.h.{layer}")
    if config.encoder.hidden_size != config.decoder.n_embd:
        table |= _pair("projection", "enc_to_dec_proj")
    if not tied:
        table[OUTPUT] = Source(("decoder.lm_head.weight",))
    return table


def _pair(ours: str, *theirs: str, transposed: bool = False) -> dict[str, Source]:
    return {
        f"{ours}.weight": Source(tuple(f"{name}.weight" for name in theirs), transposed),
        f"{ours}.bias": Source(tuple(f"{name}.bias" for name in theirs)),
    }


def _encoder_layer(ours: str, theirs: str, *, qkv_bias: bool) -> dict[str, Source]:
    attention = f"{theirs}.attention.attention"
    qkv = _pair(f"{ours}.attention.qkv", *(f"{attention}.{part}" for part in ("query", "key", "value")))
    if not qkv_bias:
        del qkv[f"{ours}.attention.qkv.bias"]
    return {
        **_pair(f"{ours}.norm_attention", f"{theirs}.layernorm_before"),
        **qkv,
        **_pair(f"{ours}.attention.out", f"{theirs}.attention.output.dense"),
        **_pair(f"{ours}.norm_mlp", f"{theirs}.layernorm_after"),
        **_pair(f"{ours}.mlp.up", f"{theirs}.intermediate.dense"),
        **_pair(f"{ours}.mlp.down", f"{theirs}.output.dense"),
    }


def _decoder_layer(ours: str, theirs: str) -> dict[str, Source]:
    cross = f"{theirs}.crossattention"
    return {
        **_pair(f"{ours}.norm_self", f"{theirs}.ln_1"),
        **_pair(f"{ours}.self_attention.qkv", f"{theirs}.attn.c_attn", transposed=True),
        **_pair(f"{ours}.self_attention.out", f"{theirs}.attn.c_proj", transposed=True),
        **_pair(f"{ours}.norm_cross", f"{theirs}.ln_cross_attn"),
        **_pair(f"{ours}.cross_attention.query", f"{cross}.q_attn", transposed=True),
        **_pair(f"{ours}.cross_attention.key_value", f"{cross}.c_attn", transposed=True),
        **_pair(f"{ours}.cross_attention.out", f"{cross}.c_proj", transposed=True),
        **_pair(f"{ours}.norm_mlp", f"{theirs}.ln_2"),
        **_pair(f"{ours}.mlp.up", f"{theirs}.mlp.c_fc", transposed=True),
        **_pair(f"{ours}.mlp.down", f"{theirs}.mlp.c_proj", transposed=True),
    }
