"""The network's numbers are those of transformers for the same weights, in both directions."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import VisionEncoderDecoderModel

from model.checkpoint.folder import Checkpoint, save_checkpoint
from model.image import ImageConfig
from model.network.caption_model import CaptionModel
from model.network.config import GPT2Config, ModelConfig, VisionConfig
from model.search.options import GenerationOptions
from tests.model.hugging_face import (
    DTYPES,
    TheirModel,
    assert_close,
    engine_model,
    random_model,
    random_pixels,
    save,
)
from tests.model.tokens import byte_level_tokenizer

SHAPES = range(20)  # seeds of the drawn dimensions


def random_tokens(theirs: TheirModel, rows: int, length: int) -> torch.Tensor:
    return torch.randint(theirs.config.decoder.vocab_size, (rows, length))


def test_the_drawn_shapes_differ_in_every_way() -> None:
    configs = [random_model(seed).config for seed in SHAPES]
    assert {c.encoder.hidden_size == c.decoder.hidden_size for c in configs} == {True, False}
    assert {c.encoder.qkv_bias for c in configs} == {True, False}
    assert {c.decoder.scale_attn_weights for c in configs} == {True, False}
    assert {c.decoder.scale_attn_by_inverse_layer_idx and c.decoder.n_layer > 1 for c in configs} == {
        True,
        False,
    }
    assert {c.decoder.n_inner is None for c in configs} == {True, False}


@torch.inference_mode()
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", SHAPES)
def test_a_transformers_checkpoint_gives_transformers_numbers(
    seed: int, dtype: torch.dtype, tmp_path: Path
) -> None:
    theirs = random_model(seed)
    ours = engine_model(save(theirs, tmp_path), dtype)
    theirs.to(dtype)
    pixels, tokens = random_pixels(theirs, 3).to(dtype), random_tokens(theirs, 3, 7)

    assert_close(ours.encoder(pixels), theirs.encoder(pixel_values=pixels).last_hidden_state)
    expected = theirs(pixel_values=pixels, decoder_input_ids=tokens).logits
    assert expected.std() > 0.3  # equal constants would prove nothing
    assert_close(ours(pixels, tokens), expected)


@torch.inference_mode()
def test_several_captions_share_an_image(tmp_path: Path) -> None:
    theirs = random_model(0)
    ours = engine_model(save(theirs, tmp_path), torch.float64)
    theirs.double()
    pixels, tokens = random_pixels(theirs, 2).double(), random_tokens(theirs, 6, 5)
    expected = theirs(pixel_values=pixels.repeat_interleave(3, dim=0), decoder_input_ids=tokens).logits
    assert_close(ours.decode(ours.encode(pixels), tokens), expected)


@torch.inference_mode()
@pytest.mark.parametrize("dtype", DTYPES)
def test_an_untied_output_layer_stays_untied(dtype: torch.dtype, tmp_path: Path) -> None:
    theirs = random_model(3, tied=False)
    ours = engine_model(save(theirs, tmp_path), dtype)
    theirs.to(dtype)
    assert "decoder.head.output.weight" in ours.state_dict()
    pixels, tokens = random_pixels(theirs, 2).to(dtype), random_tokens(theirs, 2, 5)
    expected = theirs(pixel_values=pixels, decoder_input_ids=tokens).logits
    assert_close(ours(pixels, tokens), expected)


@torch.inference_mode()
@pytest.mark.parametrize("size", [(24, 24), (48, 48), (24, 56), (41, 29)])
def test_positions_stretch_to_another_size_as_in_transformers(size: tuple[int, int], tmp_path: Path) -> None:
    theirs = random_model(2, image_size=32)
    ours = engine_model(save(theirs, tmp_path), torch.float64)
    theirs.double()
    assert theirs.config.encoder.patch_size <= 8
    pixels = torch.randn(2, 3, *size, dtype=torch.float64)
    expected = theirs.encoder(pixel_values=pixels, interpolate_pos_encoding=True).last_hidden_state
    assert_close(ours.encoder(pixels), expected)


def random_engine_model(*, tied: bool, seed: int = 0) -> CaptionModel:
    torch.manual_seed(seed)
    config = ModelConfig(
        encoder=VisionConfig(24, 2, 2, 40, image_size=16, patch_size=8),
        decoder=GPT2Config(vocab_size=300, n_positions=12, n_embd=32, n_layer=2, n_head=4),
        decoder_start_token_id=0,
        eos_token_ids=(0,),
        pad_token_id=0,
    )
    model = CaptionModel(config, tied=tied).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


@torch.inference_mode()
@pytest.mark.parametrize("tied", [True, False])
def test_transformers_reads_what_the_engine_writes(tied: bool, tmp_path: Path) -> None:
    ours = random_engine_model(tied=tied)
    checkpoint = Checkpoint(
        ours, byte_level_tokenizer(), ImageConfig(size=(16, 16)), GenerationOptions(num_beams=2)
    )
    save_checkpoint(tmp_path / "ours", checkpoint, dtype=torch.float32)
    theirs = VisionEncoderDecoderModel.from_pretrained(tmp_path / "ours").eval().double()
    pixels, tokens = torch.randn(2, 3, 16, 16, dtype=torch.float64), torch.randint(300, (2, 6))
    logits = theirs(pixel_values=pixels, decoder_input_ids=tokens).logits
    assert_close(ours.double()(pixels, tokens), logits)
    assert theirs.generation_config.num_beams == 2
    assert theirs.generation_config.max_new_tokens == 20


@torch.inference_mode()
def test_stored_halves_come_back_as_the_same_halves(tmp_path: Path) -> None:
    ours = random_engine_model(tied=True)
    checkpoint = Checkpoint(ours, byte_level_tokenizer(), ImageConfig(size=(16, 16)), GenerationOptions())
    save_checkpoint(tmp_path / "halves", checkpoint)
    stored = load_file(tmp_path / "halves" / "model.safetensors")
    assert {weight.dtype for weight in stored.values()} == {torch.float16}
    loaded = engine_model(tmp_path / "halves").state_dict()
    for name, weight in ours.state_dict().items():
        torch.testing.assert_close(loaded[name], weight.half().float(), rtol=0, atol=0)
    other = engine_model(tmp_path / "halves", torch.bfloat16)
    assert {parameter.dtype for parameter in other.parameters()} == {torch.bfloat16}
