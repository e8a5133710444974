"""Layers laid out for oneDNN give what plain ones give, and turn into plain ones again."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from model.captioner import Captioner
from model.checkpoint.folder import load_checkpoint
from model.explain.explainer import Explainer
from model.explain.explanation import MEANINGS, Method
from model.network.caption_model import CaptionModel
from model.network.config import BertConfig, GPT2Config, ModelConfig, VisionConfig
from model.network.layers import ACTIVATIONS, ActivatedLinear
from model.network.packed_layers import PackedLinear, has_kernels, pack
from tests.tiny import photo

FORMATS = [
    pytest.param(dtype, marks=pytest.mark.skipif(not has_kernels(dtype), reason=f"no kernels for {dtype}"))
    for dtype in (torch.float32, torch.bfloat16)
]
EPSILON = {torch.float32: 2**-21, torch.bfloat16: 2**-8}  # a rounding, and a sum's order in float32

pytestmark = pytest.mark.parametrize("dtype", FORMATS)

VIT = VisionConfig(32, 2, 4, 64, image_size=32, patch_size=8)
GPT2 = GPT2Config(vocab_size=50, n_positions=16, n_embd=48, n_layer=2, n_head=4)
BERT = BertConfig(
    vocab_size=50, hidden_size=48, num_hidden_layers=2, num_attention_heads=4, encoder_hidden_size=32
)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 40), (5, 40), (2, 3, 40), (0, 40)])
def test_a_layer_multiplies_and_rounds_once(shape: tuple[int, ...], bias: bool, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    plain = nn.Linear(40, 24, bias=bias, dtype=dtype)
    x = torch.randn(shape, dtype=dtype)
    exact = x.double() @ plain.weight.double().T + (plain.bias.double() if bias else 0)
    with torch.inference_mode():
        found = PackedLinear(plain)(x)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), exact, rtol=EPSILON[dtype], atol=1e-6)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_an_activation_is_applied_before_rounding(activation: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    plain = ActivatedLinear(40, 24, activation).to(dtype)
    packed, x = PackedLinear(plain), 2 * torch.randn(30, 40, dtype=dtype)
    exact = copy.deepcopy(plain).double()(x.double())
    with torch.inference_mode():
        torch.testing.assert_close(packed(x).double(), exact, rtol=EPSILON[dtype], atol=1e-5)
    again = copy.deepcopy(packed)
    assert isinstance(again, ActivatedLinear)
    assert torch.equal(again(x), plain(x))
    bound = 20 * EPSILON[dtype]
    torch.testing.assert_close(packed(x.requires_grad_()).double(), exact, rtol=bound, atol=bound)


@pytest.mark.parametrize(("inputs", "outputs"), [(40, 96), (768, 96), (1280, 384), (1536, 384), (2048, 384)])
def test_a_row_gets_the_same_numbers_in_any_company(inputs: int, outputs: int, dtype: torch.dtype) -> None:
    if dtype == torch.bfloat16 and not torch.cpu.get_capabilities().get("amx_bf16"):
        pytest.skip("without AMX, bfloat16 kernels add up in an order of the batch's size")
    torch.manual_seed(0)
    plain = nn.Linear(inputs, outputs, dtype=dtype)
    layer, x = PackedLinear(plain), torch.randn(200, inputs, dtype=dtype)
    with torch.inference_mode():
        alone = torch.cat([layer(row.unsqueeze(0)) for row in x])
        for rows in (2, 5, 40, 200):
            assert torch.equal(layer(x[:rows]), alone[:rows])


@pytest.mark.parametrize("bias", [True, False])
def test_a_copy_is_plain_again(bias: bool, dtype: torch.dtype) -> None:
    plain = nn.Linear(40, 24, bias=bias, dtype=dtype)
    again: nn.Module = copy.deepcopy(PackedLinear(plain))
    assert isinstance(again, nn.Linear)
    assert again.state_dict().keys() == plain.state_dict().keys()
    for name, weights in again.state_dict().items():
        assert torch.equal(weights, plain.state_dict()[name])
    again(torch.randn(2, 40, dtype=dtype)).sum().backward()
    assert again.weight.grad is not None


def distance(found: torch.Tensor, exact: torch.Tensor) -> float:
    """Root of the mean squared difference."""
    return (found.double() - exact).square().mean().sqrt().item()


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("decoder", [GPT2, BERT])
def test_a_packed_network_computes_the_same(
    decoder: GPT2Config | BertConfig, tied: bool, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    plain = CaptionModel(ModelConfig(VIT, decoder, 0, (0,), 0), tied=tied).to(dtype).eval()
    pixels, tokens = torch.randn(2, 3, 32, 32).to(dtype), torch.randint(50, (4, 6))
    with torch.inference_mode():
        expected = plain(pixels, tokens)
        exact = copy.deepcopy(plain).double()(pixels.double(), tokens)
        packed = copy.deepcopy(plain)
        pack(packed)
        assert not any(isinstance(module, nn.Linear) for module in packed.modules())
        for found in (packed(pixels, tokens), copy.deepcopy(packed)(pixels, tokens)):
            assert distance(found, exact) <= 2 * distance(expected, exact)  # both only round
            if dtype == torch.float32:
                torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_other_number_formats_stay_as_they_are(dtype: torch.dtype) -> None:
    other = torch.float64 if dtype == torch.float32 else torch.float16
    network = CaptionModel(ModelConfig(VIT, GPT2, 0, (0,), 0)).to(other)
    before = [type(module) for module in network.modules()]
    pack(network)
    assert [type(module) for module in network.modules()] == before


@pytest.mark.parametrize("method", MEANINGS)
def test_packed_networks_are_explained(tiny_folder: Path, method: Method, dtype: torch.dtype) -> None:
    packed = Captioner.from_folder(tiny_folder, dtype=dtype)
    plain = Captioner(load_checkpoint(tiny_folder, dtype=torch.float32))
    assert isinstance(packed.model.encoder.blocks[0].mlp.up, PackedLinear)  # type: ignore[union-attr]
    pixels = plain.preprocess(photo(5))
    caption = Explainer(plain).given(pixels, "a dog runs")
    found = Explainer(packed).explain(pixels, caption, method)
    expected = Explainer(plain).explain(pixels, caption, method)
    for ours, exact in zip(found.heatmaps, expected.heatmaps, strict=True):
        spread = float(exact.values.abs().max())
        torch.testing.assert_close(ours.values, exact.values, rtol=0, atol=0.2 * spread)
