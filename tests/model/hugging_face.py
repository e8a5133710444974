"""Random transformers models: the independent answer that the engine is held against."""

import random
from pathlib import Path
from typing import Any, TypeAlias

import torch
import transformers
from transformers import GPT2Config, VisionEncoderDecoderConfig, VisionEncoderDecoderModel, ViTConfig

from model.checkpoint.folder import family_of, load_weights
from model.network.caption_model import CaptionModel
from model.network.config import read_json

transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

START = PAD = 1

TheirModel: TypeAlias = Any
"""A VisionEncoderDecoderModel, whose own annotations do not fit its methods."""


def random_model(
    seed: int, *, end_tokens: tuple[int, ...] = (1,), tied: bool = True, image_size: int | None = None
) -> TheirModel:
    """A model whose dimensions are drawn; its weights pass on about what they get, as trained ones do."""
    draw = random.Random(seed)
    torch.manual_seed(seed)
    patch_size = draw.choice([4, 8, 16])
    width = draw.choice([16, 32, 48])
    encoder = ViTConfig(
        hidden_size=width,
        num_hidden_layers=draw.choice([1, 2, 3]),
        num_attention_heads=draw.choice([1, 2, 4]),
        intermediate_size=draw.choice([24, 64]),
        image_size=image_size or patch_size * draw.choice([2, 3]),
        patch_size=patch_size,
        qkv_bias=draw.random() < 0.7,
        hidden_act=draw.choice(["gelu", "relu"]),
        layer_norm_eps=draw.choice([1e-12, 1e-3]),
        initializer_range=width**-0.5,
    )
    decoder = GPT2Config(
        vocab_size=draw.choice([23, 40, 97]),
        n_positions=32,
        n_embd=(width := draw.choice([32, 64])),
        n_layer=draw.choice([1, 2, 3]),
        n_head=draw.choice([1, 2, 4]),
        n_inner=draw.choice([None, 40]),
        activation_function=draw.choice(["gelu_new", "gelu", "relu"]),
        layer_norm_epsilon=draw.choice([1e-5, 1e-3]),
        scale_attn_weights=draw.random() < 0.7,
        scale_attn_by_inverse_layer_idx=draw.random() < 0.5,
        tie_word_embeddings=tied,
        add_cross_attention=True,
        initializer_range=width**-0.5,
    )
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.tie_word_embeddings = False  # of encoder and decoder
    for part in (config, config.decoder):
        part.decoder_start_token_id = part.bos_token_id = START
        part.eos_token_id = end_tokens[0] if len(end_tokens) == 1 else list(end_tokens)
        part.pad_token_id = PAD
    model = VisionEncoderDecoderModel(config=config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:  # biases and norms, which start as zeros and ones
                parameter.add_(torch.randn_like(parameter) * 0.2)
            if name.endswith(("cls_token", "position_embeddings")):
                parameter.normal_()
        last = model.decoder.transformer.ln_f  # leans towards the end tokens, so that captions do end
        last.bias += model.decoder.lm_head.weight[list(end_tokens)].sum(dim=0) * draw.choice([0.3, 0.6, 0.9])
    return model


def assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Compare what two networks computed, by the spread of the values.

    In float64 rounding is out of the way: equal to 1e-9, the two do the same. In float32 they
    round in the order of a processor's kernels, and a thousandth is allowed.
    """
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    allowed = 1e-9 if found.dtype == torch.float64 else 1e-3
    assert (found - expected).abs().max() <= allowed * expected.std()


DTYPES = (torch.float64, torch.float32)
"""Number formats to compare networks in."""


def random_pixels(model: TheirModel, batch: int, seed: int = 0) -> torch.Tensor:
    """Noise (batch, 3, height, width) of the size that the encoder was made for."""
    size = model.config.encoder.image_size
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(seed))


def save(model: TheirModel, folder: Path) -> Path:
    """Write the model as transformers does; returns the folder."""
    model.save_pretrained(folder)
    return folder


def engine_model(folder: Path, dtype: torch.dtype = torch.float32) -> CaptionModel:
    """Load config and weights of a checkpoint folder, which needs no tokenizer here."""
    raw = read_json(folder / "config.json")
    family = family_of(raw)
    config = family.read_config(raw, read_json(folder / "generation_config.json"))
    return load_weights(family, config, folder, dtype=dtype, device="cpu").eval()
