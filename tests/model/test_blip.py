"""BLIP checkpoints: the network's numbers, and captions with and without a prompt, are transformers'."""

import json
import random
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import torch
from torch import Tensor
from transformers import BlipConfig, BlipForConditionalGeneration

from model.checkpoint.folder import family_of
from model.errors import ConfigError
from model.network.caption_model import CaptionModel
from model.network.config import read_json
from model.search.beam import beam_search
from model.search.options import GenerationOptions
from tests.model.hugging_face import DTYPES, assert_close, engine_model, save

START, SEP, CLS = 20, 3, 4
SHAPES = range(20)  # seeds of the drawn dimensions
TheirBlip: TypeAlias = Any


def random_blip(seed: int, *, qkv_bias: bool = True) -> TheirBlip:
    """A BLIP whose dimensions are drawn; its weights pass on about what they get, as trained ones do."""
    draw = random.Random(seed)
    torch.manual_seed(seed)
    patch_size = draw.choice([4, 8, 16])
    vision = {
        "hidden_size": draw.choice([16, 32, 48]),
        "num_hidden_layers": draw.choice([1, 2, 3]),
        "num_attention_heads": draw.choice([1, 2, 4]),
        "intermediate_size": draw.choice([24, 64]),
        "image_size": patch_size * draw.choice([2, 3]),
        "patch_size": patch_size,
        "layer_norm_eps": draw.choice([1e-5, 1e-3]),
        "qkv_bias": qkv_bias,
    }
    text = {
        "vocab_size": draw.choice([23, 40, 97]),
        "max_position_embeddings": 32,
        "hidden_size": draw.choice([32, 64]),
        "num_hidden_layers": draw.choice([1, 2, 3]),
        "num_attention_heads": draw.choice([1, 2, 4]),
        "intermediate_size": draw.choice([24, 64]),
        "layer_norm_eps": draw.choice([1e-12, 1e-3]),
        "bos_token_id": START,
        "sep_token_id": SEP,
        "eos_token_id": 2,  # as published; generation ends at the separator all the same
        "pad_token_id": 0,
    }
    model = BlipForConditionalGeneration(BlipConfig(vision_config=vision, text_config=text)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=parameter.shape[-1] ** -0.5)
            elif name.endswith("bias"):
                parameter.normal_(std=0.2)
        # leans towards the separator, so that captions do end
        model.text_decoder.cls.predictions.bias[SEP] += draw.choice([0.0, 2.0, 4.0])
    return model


def random_pixels(model: TheirBlip, batch: int, seed: int) -> Tensor:
    size = model.config.vision_config.image_size
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", SHAPES)
def test_numbers_are_those_of_transformers(seed: int, dtype: torch.dtype, tmp_path: Path) -> None:
    theirs = random_blip(seed)
    ours = engine_model(save(theirs, tmp_path), dtype)
    theirs.to(dtype)
    pixels, tokens = random_pixels(theirs, 3, seed).to(dtype), torch.randint(23, (3, 7))
    image = theirs.vision_model(pixels).last_hidden_state
    assert_close(ours.encode(pixels), image)
    expected = theirs.text_decoder(input_ids=tokens, encoder_hidden_states=image).logits
    assert expected.std() > 0.3
    assert_close(ours(pixels, tokens), expected)


@torch.inference_mode()
def test_attention_has_a_bias_whatever_the_config_says(tmp_path: Path) -> None:
    theirs = random_blip(1, qkv_bias=False).double()
    ours = engine_model(save(theirs, tmp_path), torch.float64)
    pixels = random_pixels(theirs, 2, 1).double()
    assert_close(ours.encode(pixels), theirs.vision_model(pixels).last_hidden_state)


def drawn_options(seed: int) -> GenerationOptions:
    draw = random.Random(seed)
    beams = 1 + seed % 5
    return GenerationOptions(
        num_beams=beams,
        num_captions=draw.randint(1, beams),
        max_new_tokens=draw.choice([4, 9, 12]),
        min_new_tokens=draw.choice([0, 0, 1, 4]),
        length_penalty=draw.choice([-1.0, 0.0, 1.0, 2.0]),
        early_stopping=draw.choice([True, False, "never"]),
        no_repeat_ngram_size=draw.choice([0, 0, 2, 3]),
        repetition_penalty=draw.choice([1.0, 1.0, 0.8, 1.3]),
    )


def ours_found(
    model: CaptionModel, pixels: Tensor, prompt: list[int], options: GenerationOptions
) -> list[tuple[list[int], float]]:
    rows, positions = len(pixels) * options.num_beams, len(prompt) + options.max_new_tokens
    step = model.decoder.stepper(model.encode(pixels), rows, positions)
    start = torch.tensor([model.config.decoder_start_token_id, *prompt]).repeat(len(pixels), 1)
    found = beam_search(step, start, options, model.config.eos_token_ids)
    flat = zip(found.tokens.flatten(0, 1), found.lengths.flatten(), found.scores.flatten(), strict=True)
    return [(tokens[:length].tolist(), score.item()) for tokens, length, score in flat]


@torch.inference_mode()
@pytest.mark.parametrize("number", range(60))
def test_captions_are_those_of_transformers(number: int, tmp_path: Path) -> None:
    theirs = random_blip(number)
    ours = engine_model(save(theirs, tmp_path), torch.float64)  # no two candidates tie by rounding
    theirs.double()
    options, pixels = drawn_options(number), random_pixels(theirs, 2, number).double()
    prompt = torch.randint(5, 20, (random.Random(number).choice([0, 0, 1, 3]),)).tolist()
    out = theirs.generate(
        pixel_values=pixels,
        input_ids=torch.tensor([[CLS, *prompt, SEP]]).repeat(2, 1),  # as BLIP's processor makes it
        num_beams=options.num_beams,
        num_return_sequences=options.num_captions,
        max_new_tokens=options.max_new_tokens,
        min_new_tokens=options.min_new_tokens,
        length_penalty=options.length_penalty,
        early_stopping=options.early_stopping,
        no_repeat_ngram_size=options.no_repeat_ngram_size,
        repetition_penalty=options.repetition_penalty,
        do_sample=False,
        return_dict_in_generate=True,
        output_scores=True,
    )
    for index, (tokens, score) in enumerate(ours_found(ours, pixels, prompt, options)):
        expected = out.sequences[index, 1 + len(prompt) :].tolist()
        expected = expected[: expected.index(SEP) + 1] if SEP in expected else expected
        assert tokens == expected
        if options.num_beams > 1:
            assert score == pytest.approx(out.sequences_scores[index].item(), rel=1e-4, abs=1e-5)


def test_token_ids_and_defaults_are_blips(tmp_path: Path) -> None:
    raw = read_json(save(random_blip(0), tmp_path) / "config.json")
    for key in ("bos_token_id", "sep_token_id", "pad_token_id"):
        del raw["text_config"][key]
    raw["text_config"]["vocab_size"] = 30524
    config = family_of(raw).read_config(raw, {"eos_token_id": 2})
    assert (config.decoder_start_token_id, config.eos_token_ids, config.pad_token_id) == (30522, (102,), 0)


def test_a_config_without_its_parts_is_refused() -> None:
    with pytest.raises(ConfigError, match="vision_config"):
        family_of({"model_type": "blip"}).read_config(json.loads('{"text_config": {}}'), {})
