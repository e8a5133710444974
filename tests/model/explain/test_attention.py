"""Mean cross-attention against the weights that transformers returns, for both kinds of checkpoint."""

from pathlib import Path
from typing import Any

import pytest
import torch

from model.explain.attention import mean_attention
from model.explain.target import CaptionTarget
from model.network.caption_model import CaptionModel
from tests.model import hugging_face
from tests.model.test_blip import START, random_blip
from tests.model.test_blip import random_pixels as blip_pixels

WORDS = [range(1), range(1, 3), range(4, 6)]
IDS = [3, 9, 4, 7, 5, 2]


def expected(weights: tuple[torch.Tensor, ...], rows: int, columns: int) -> torch.Tensor:
    """(1, H, T, S) of each layer → what the maps have to be."""
    mean = torch.cat(weights).mean(dim=(0, 1))[:, 1:]  # (T, patches)
    maps = [mean[word.start : word.stop].mean(dim=0) for word in WORDS]
    return torch.stack(maps).view(len(WORDS), rows, columns)


@pytest.mark.parametrize("seed", range(3))
def test_vit_gpt2(seed: int, tmp_path: Path) -> None:
    theirs = hugging_face.random_model(seed)
    model = hugging_face.engine_model(hugging_face.save(theirs, tmp_path))
    theirs.set_attn_implementation("eager")
    pixels = hugging_face.random_pixels(theirs, 1, seed)
    tokens = torch.tensor([[hugging_face.START, *IDS[:-1]]])
    with torch.no_grad():
        out = theirs(pixel_values=pixels, decoder_input_ids=tokens, output_attentions=True)
    check(model, pixels, out.cross_attentions)


@pytest.mark.parametrize("seed", range(3))
def test_blip(seed: int, tmp_path: Path) -> None:
    theirs = random_blip(seed)
    model = hugging_face.engine_model(hugging_face.save(theirs, tmp_path))
    theirs.set_attn_implementation("eager")
    pixels = blip_pixels(theirs, 1, seed)
    with torch.no_grad():
        image = theirs.vision_model(pixels).last_hidden_state
        out = theirs.text_decoder(
            torch.tensor([[START, *IDS[:-1]]]), encoder_hidden_states=image, output_attentions=True
        )
    check(model, pixels, out.cross_attentions)


def check(model: CaptionModel, pixels: torch.Tensor, weights: tuple[torch.Tensor, ...]) -> None:
    rows = pixels.shape[2] // model.config.encoder.patch_size
    columns = pixels.shape[3] // model.config.encoder.patch_size
    found = mean_attention(CaptionTarget(model, IDS, WORDS), pixels[0])
    torch.testing.assert_close(found, expected(weights, rows, columns), rtol=1e-4, atol=1e-5)
    assert all(not block.cross_attention._forward_pre_hooks for block in blocks(model))  # nothing stays


def blocks(model: CaptionModel) -> Any:  # noqa: ANN401  # modules of a list have no type
    return model.decoder.blocks
