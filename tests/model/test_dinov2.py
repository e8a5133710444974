"""DINOv2 encoders: transformers' numbers and captions, in both directions."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    Dinov2Config,
    GPT2Config,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
)

from model.captioner import Captioner
from model.checkpoint.folder import Checkpoint, load_checkpoint, save_checkpoint
from model.checkpoint.image_encoders import read_encoder
from model.errors import ConfigError
from model.image import ImageConfig
from model.network.config import ConvStemConfig, VisionConfig
from model.network.encoder import stretch_positions
from model.search.options import GenerationOptions
from tests.model.hugging_face import TheirModel, engine_model, save
from tests.model.tokens import byte_level_tokenizer
from tests.tiny import photo

SEEDS = range(6)


def random_dinov2(seed: int) -> TheirModel:
    """A model whose dimensions are drawn; its weights are wide, so that its outputs vary."""
    draw = random.Random(seed)
    torch.manual_seed(seed)
    patch = draw.choice([4, 7, 14])
    encoder = Dinov2Config(
        hidden_size=draw.choice([16, 32]),
        num_hidden_layers=draw.choice([1, 3]),
        num_attention_heads=draw.choice([1, 2, 4]),
        mlp_ratio=draw.choice([2, 4]),
        image_size=patch * draw.choice([3, 5]),
        patch_size=patch,
        qkv_bias=draw.random() < 0.7,
        use_mask_token=draw.random() < 0.7,
        initializer_range=0.3,
    )
    decoder = GPT2Config(
        vocab_size=300,
        n_positions=32,
        n_embd=32,
        n_layer=2,
        n_head=4,
        add_cross_attention=True,
        initializer_range=0.3,
    )
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    for part in (config, config.decoder):
        part.decoder_start_token_id = part.bos_token_id = part.eos_token_id = part.pad_token_id = 1
    model = VisionEncoderDecoderModel(config=config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:  # biases, norms and layer scales
                parameter.add_(torch.randn_like(parameter) * 0.2)
            if name.endswith(("cls_token", "position_embeddings")):
                parameter.normal_()
    return model


@torch.inference_mode()
@pytest.mark.parametrize("seed", SEEDS)
def test_a_transformers_checkpoint_gives_transformers_numbers(seed: int, tmp_path: Path) -> None:
    theirs = random_dinov2(seed)
    ours = engine_model(save(theirs, tmp_path), torch.float64)
    theirs = theirs.double()
    side = theirs.config.encoder.image_size
    pixels, tokens = torch.randn(3, 3, side, side).double(), torch.randint(300, (3, 7))
    expected = theirs(pixel_values=pixels, decoder_input_ids=tokens).logits
    assert expected.std() > 0.3
    torch.testing.assert_close(ours(pixels, tokens), expected, rtol=1e-9, atol=1e-9)


@torch.inference_mode()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("grid", [(2, 2), (4, 4), (6, 6), (3, 7)])
def test_stretched_positions_are_transformers_to_the_last_bit(
    grid: tuple[int, int], dtype: torch.dtype
) -> None:
    theirs = random_dinov2(1).encoder.embeddings.to(dtype)
    rows, columns = grid
    positions, size = theirs.position_embeddings, theirs.patch_size
    assert positions.shape[1] == 1 + 5 * 5
    tokens = torch.zeros(1, 1 + rows * columns, positions.shape[2])
    expected = theirs.interpolate_pos_encoding(tokens, rows * size, columns * size)
    assert torch.equal(stretch_positions(positions, rows, columns), expected)


@torch.inference_mode()
@pytest.mark.parametrize("patches", [2, 4, 6])
def test_positions_stretch_to_another_size_as_in_transformers(patches: int, tmp_path: Path) -> None:
    theirs = random_dinov2(1)
    ours = engine_model(save(theirs, tmp_path))
    side = patches * theirs.config.encoder.patch_size
    pixels = torch.randn(2, 3, side, side)
    expected = theirs.encoder(pixel_values=pixels).last_hidden_state
    found = ours.encoder(pixels)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def as_checkpoint(seed: int, folder: Path, patches: int | None = None) -> Checkpoint:
    """With so many patches along a side of the photo; None: as many as the config says."""
    theirs = random_dinov2(seed)
    encoder = theirs.config.encoder
    side = encoder.image_size if patches is None else patches * encoder.patch_size
    model = engine_model(save(theirs, folder))
    options = GenerationOptions(num_beams=3, max_new_tokens=10)
    return Checkpoint(model, byte_level_tokenizer(), ImageConfig(size=(side, side)), options)


@torch.inference_mode()
@pytest.mark.parametrize("patches", [None, 4])
@pytest.mark.parametrize("seed", SEEDS)
def test_what_the_engine_writes_captions_the_same_in_transformers(
    seed: int, patches: int | None, tmp_path: Path
) -> None:
    """Also where photos are not of the size in the config, as with the published encoders."""
    before = as_checkpoint(seed, tmp_path / "theirs", patches)
    save_checkpoint(tmp_path / "ours", before, dtype=torch.float32)
    loaded: Any = VisionEncoderDecoderModel.from_pretrained(tmp_path / "ours", output_loading_info=True)
    theirs, found = loaded
    assert not any(found.values())  # no weight is missing, left over or misshapen
    theirs.eval()
    assert theirs.config.encoder.model_type == "dinov2"
    assert (theirs.config.encoder.image_size == before.image.size[0]) is (patches is None)
    captioner = Captioner.from_folder(tmp_path / "ours", dtype=torch.float32)
    photos = [captioner.preprocess(photo(index)) for index in range(3)]
    rows = theirs.generate(pixel_values=torch.stack(photos))
    expected = [[token for token in row[1:].tolist() if token != 1] for row in rows]
    ours = [[token.id for token in best.tokens if token.id != 1] for best, *_ in captioner.caption(photos)]
    assert ours == expected


def test_a_checkpoint_goes_both_ways_without_loss(tmp_path: Path) -> None:
    before = as_checkpoint(0, tmp_path / "theirs")
    save_checkpoint(tmp_path / "ours", before, dtype=torch.float32)
    after = load_checkpoint(tmp_path / "ours").model
    assert after.config.encoder == before.model.config.encoder
    for name, weight in before.model.state_dict().items():
        assert torch.equal(after.state_dict()[name], weight), name


def test_the_defaults_are_transformers() -> None:
    ours, theirs = read_encoder({"model_type": "dinov2"}), Dinov2Config()
    assert (ours.patch_size, ours.layer_norm_eps) == (theirs.patch_size, theirs.layer_norm_eps)
    assert ours.intermediate_size == theirs.hidden_size * theirs.mlp_ratio
    assert (ours.hidden_size, ours.num_hidden_layers) == (theirs.hidden_size, theirs.num_hidden_layers)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"use_swiglu_ffn": True}, "encoder.use_swiglu_ffn is true: only the plain"),
        ({"mlp_ratio": "wide"}, "encoder.mlp_ratio is 'wide': a whole number above 0"),
        ({"mlp_ratio": 2.5}, "encoder.mlp_ratio is 2.5: a whole number"),
        ({"mlp_ratio": 0}, "encoder.mlp_ratio is 0: a whole number"),
        ({"mlp_ratio": float("inf")}, "encoder.mlp_ratio is inf: a whole number"),
        ({"mlp_ratio": True}, "encoder.mlp_ratio is True"),
        ({"hidden_size": "wide"}, "encoder.hidden_size is 'wide': a positive integer"),
    ],
)
def test_what_is_not_supported_is_named(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_encoder({"model_type": "dinov2", **fields})


def test_dimensions_that_could_not_be_saved_are_refused() -> None:
    """A recipe may ask for them: transformers has no such DINOv2."""
    with pytest.raises(ConfigError, match=r"size is 99, which hidden_size \(48\) does not divide"):
        VisionConfig(48, 1, 2, 99, layer_scale=True)
    with pytest.raises(ConfigError, match=r"encoder\.layer_scale is true: that and encoder\.stem exclude"):
        VisionConfig(48, 1, 2, 96, 192, 32, stem=ConvStemConfig(), layer_scale=True)
