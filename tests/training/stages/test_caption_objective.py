import math
from collections.abc import Iterable
from pathlib import Path
from typing import cast

import pytest
import torch

from model.checkpoint.folder import load_checkpoint
from model.network.caption_model import CaptionModel
from model.network.config import GPT2Config, ModelConfig, VisionConfig
from model.network.gpt2 import GPT2Block
from tests.tiny import write_tiny_checkpoint
from tests.training.tiny_data import ALONE
from training.data.batches import PADDING, Batch
from training.stages.caption_objective import ContrastRecipe, Objective, info_nce


def test_info_nce_is_that_of_a_hand_calculation() -> None:
    """Two photos with two captions each; a photo's other caption is not among its wrong answers."""
    logits = torch.tensor([[3.0, 1.0, 0.5, -1.0], [0.0, 2.0, 1.5, 4.0]])

    def share(right: float, *wrong: float) -> float:
        return -math.log(math.exp(right) / sum(map(math.exp, (right, *wrong))))

    to_photo = [share(3.0, 0.0), share(1.0, 2.0), share(1.5, 0.5), share(4.0, -1.0)]
    to_caption = [share(3.0, 0.5, -1.0), share(1.0, 0.5, -1.0), share(1.5, 0.0, 2.0), share(4.0, 0.0, 2.0)]
    expected = (sum(to_photo) / 4 + sum(to_caption) / 4) / 2
    assert info_nce(logits).item() == pytest.approx(expected, abs=1e-6)


def test_captions_are_pooled_without_their_padding_and_without_the_photo(tmp_path: Path) -> None:
    model = load_checkpoint(write_tiny_checkpoint(tmp_path / "tiny")).model.eval()
    objective = Objective(model, 0.0, ContrastRecipe(weight=1.0, width=8)).eval()
    torch.manual_seed(0)
    pixels = torch.randn(2, 3, 32, 32)
    inputs = torch.tensor([[0, 5, 6], [0, 7, 0]])
    targets = torch.tensor([[5, 6, 0], [7, 0, PADDING]])
    _, contrast = objective(Batch(pixels, inputs, targets), ALONE)

    texts = []
    for row in ([0, 5, 6], [0, 7]):  # each on its own, with the photo's part of the blocks left out
        x = model.decoder.embedding(torch.tensor([row]), 0)
        for block in cast(Iterable[GPT2Block], model.decoder.blocks):
            x = x + block.self_attention(block.norm_self(x), None)
            x = x + block.mlp(block.norm_mlp(x))
        texts.append(x[0].mean(0))
    assert objective.contrast is not None
    heads = objective.contrast
    images = torch.nn.functional.normalize(heads.of_image(model.encode(pixels)[:, 0]), dim=-1)
    captions = torch.nn.functional.normalize(heads.of_text(torch.stack(texts)), dim=-1)
    torch.testing.assert_close(contrast, info_nce(images @ captions.T / 0.07))


def test_photos_are_told_apart_by_what_the_decoder_reads_of_them() -> None:
    """Where the encoder's width is another than the decoder's, both losses teach the projection."""
    config = ModelConfig(
        encoder=VisionConfig(16, 1, 2, 32, image_size=32, patch_size=8),
        decoder=GPT2Config(vocab_size=20, n_positions=8, n_embd=24, n_layer=1, n_head=2),
        decoder_start_token_id=0,
        eos_token_ids=(0,),
        pad_token_id=0,
    )
    torch.manual_seed(0)
    model = CaptionModel(config)
    model.encoder.requires_grad_(False)
    objective = Objective(model, 0.0, ContrastRecipe(weight=1.0, width=8), kept_patches=6)
    tokens = torch.tensor([[0, 5], [0, 7]])
    losses = objective(Batch(torch.randn(2, 3, 32, 32), tokens, tokens), ALONE)
    assert model.projection is not None
    for loss in losses:
        (gradient,) = torch.autograd.grad(loss, model.projection.weight, retain_graph=True)
        assert gradient.any()


@pytest.mark.parametrize("side", [32, 24])  # the config's, and that of the photos of a DINOv2, say
def test_the_encoder_sees_as_many_patches_as_it_keeps(tmp_path: Path, side: int) -> None:
    model = load_checkpoint(write_tiny_checkpoint(tmp_path / "tiny")).model
    seen: list[int] = []
    model.encoder.norm.register_forward_hook(lambda _, __, output: seen.append(output.shape[1]))
    kept: list[torch.Tensor] = []
    model.encoder.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[1]))
    torch.manual_seed(0)
    pixels = torch.randn(20, 3, side, side)
    tokens = torch.tensor([[0, 5], [0, 7]]).repeat(10, 1)
    batch = Batch(pixels, tokens, tokens)
    objective = Objective(model, 0.0, kept_patches=6).train()
    objective(batch, ALONE)
    objective.eval()(batch, ALONE)
    assert seen == [1 + 6, 1 + (side // 8) ** 2]
    assert set(kept[0].flatten().tolist()) == set(range((side // 8) ** 2))  # torch reads beyond the last, too


def test_kept_patches_are_those_of_the_photo(tmp_path: Path) -> None:
    encoder = load_checkpoint(write_tiny_checkpoint(tmp_path / "tiny")).model.encoder.eval()
    pixels = torch.randn(1, 3, 32, 32)
    every = torch.randperm(16).unsqueeze(0)
    whole, shuffled = encoder(pixels), encoder(pixels, every)
    torch.testing.assert_close(shuffled[:, 1:], whole[:, 1:][:, every[0]], atol=1e-5, rtol=1e-5)
    few = torch.tensor([[3, 9]])
    changed = pixels.clone()
    changed[:, :, :8, :8] += 1.0  # patch 0, which is not kept
    torch.testing.assert_close(encoder(changed, few), encoder(pixels, few))
