"""Layers laid out for oneDNN give what plain ones give, and turn into plain ones again."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from model.captioner import Captioner
from model.config import BertConfig, GPT2Config, ModelConfig, VisionConfig
from model.explain.explainer import Explainer
from model.explain.explanation import MEANINGS, Method
from model.network import CaptionModel
from model.packed_linear import PackedLinear, has_kernels, pack
from tests.tiny import photo

pytestmark = pytest.mark.skipif(not has_kernels(), reason="the processor has no bfloat16 kernels")

VIT = VisionConfig(32, 2, 4, 64, image_size=32, patch_size=8)
GPT2 = GPT2Config(vocab_size=50, n_positions=16, n_embd=48, n_layer=2, n_head=4)
BERT = BertConfig(
    vocab_size=50, hidden_size=48, num_hidden_layers=2, num_attention_heads=4, encoder_hidden_size=32
)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 40), (5, 40), (2, 3, 40), (0, 40)])
def test_a_layer_multiplies_and_rounds_once(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    plain = nn.Linear(40, 24, bias=bias, dtype=torch.bfloat16)
    x = torch.randn(shape, dtype=torch.bfloat16)
    exact = x.double() @ plain.weight.double().T + (plain.bias.double() if bias else 0)
    with torch.inference_mode():
        found = PackedLinear(plain.weight, plain.bias)(x)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), exact, rtol=2**-8, atol=1e-6)


@pytest.mark.parametrize("bias", [True, False])
def test_a_copy_is_plain_again(bias: bool) -> None:
    plain = nn.Linear(40, 24, bias=bias, dtype=torch.bfloat16)
    again: nn.Module = copy.deepcopy(PackedLinear(plain.weight, plain.bias))
    assert isinstance(again, nn.Linear)
    assert again.state_dict().keys() == plain.state_dict().keys()
    for name, weights in again.state_dict().items():
        assert torch.equal(weights, plain.state_dict()[name])
    again(torch.randn(2, 40, dtype=torch.bfloat16)).sum().backward()
    assert again.weight.grad is not None


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("decoder", [GPT2, BERT])
def test_a_packed_network_computes_the_same(decoder: GPT2Config | BertConfig, tied: bool) -> None:
    torch.manual_seed(0)
    plain = CaptionModel(ModelConfig(VIT, decoder, 0, (0,), 0), tied=tied).bfloat16().eval()
    pixels, tokens = torch.randn(2, 3, 32, 32).bfloat16(), torch.randint(50, (4, 6))
    with torch.inference_mode():
        expected = plain(pixels, tokens)
        packed = copy.deepcopy(plain)
        pack(packed)
        assert not any(type(module) is nn.Linear for module in packed.modules())
        torch.testing.assert_close(packed(pixels, tokens), expected, rtol=0.05, atol=0.05)
        torch.testing.assert_close(copy.deepcopy(packed)(pixels, tokens), expected, rtol=0.05, atol=0.05)


def test_other_number_formats_stay_as_they_are() -> None:
    network = CaptionModel(ModelConfig(VIT, GPT2, 0, (0,), 0))
    before = [type(module) for module in network.modules()]
    pack(network)
    assert [type(module) for module in network.modules()] == before


@pytest.mark.parametrize("method", MEANINGS)
def test_packed_networks_are_explained(tiny_folder: Path, method: Method) -> None:
    packed = Captioner.from_folder(tiny_folder, dtype=torch.bfloat16)
    plain = Captioner.from_folder(tiny_folder, dtype=torch.float32)
    assert isinstance(packed.model.encoder.blocks[0].mlp.up, PackedLinear)  # type: ignore[union-attr]
    pixels = plain.preprocess(photo(5))
    caption = Explainer(plain).given(pixels, "a dog runs")
    found = Explainer(packed).explain(pixels, caption, method)
    expected = Explainer(plain).explain(pixels, caption, method)
    for ours, exact in zip(found.heatmaps, expected.heatmaps, strict=True):
        spread = float(exact.values.abs().max())
        torch.testing.assert_close(ours.values, exact.values, rtol=0, atol=0.2 * spread)
