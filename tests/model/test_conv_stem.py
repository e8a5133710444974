"""The stem's layers against convolutions that are written out value by value."""

import numpy as np
import numpy.typing as npt
import pytest
import torch

from model.network.config import ConvStemConfig
from model.network.conv_stem import ConvStem, InvertedResidual, SamePadded

Values = npt.NDArray[np.float64]


def by_hand(x: Values, weight: Values, bias: Values, stride: int, groups: int) -> Values:
    """(inputs, h, w) → (outputs, ⌈h / s⌉, ⌈w / s⌉) as TensorFlow defines "SAME", a window at a time.

    https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2
    """
    kernel = weight.shape[2]
    sides, padding = [], []
    for side in x.shape[1:]:
        out = -(-side // stride)
        total = max(kernel - stride, 0) if side % stride == 0 else max(kernel - side % stride, 0)
        sides.append(out)
        padding.append((total // 2, total - total // 2))
    x = np.pad(x, ((0, 0), *padding))
    inputs, outputs = len(x) // groups, len(weight) // groups
    result = np.zeros((len(weight), *sides))
    for channel in range(len(weight)):
        first = channel // outputs * inputs
        for row in range(sides[0]):
            for column in range(sides[1]):
                top, left = row * stride, column * stride
                window = x[first : first + inputs, top : top + kernel, left : left + kernel]
                result[channel, row, column] = (window * weight[channel]).sum() + bias[channel]
    return result


def layer_by_hand(layer: SamePadded, x: Values) -> Values:
    assert layer.bias is not None
    weights = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    found = by_hand(x, *weights, layer.stride[0], layer.groups)
    return np.clip(found, 0, 6) if layer.bounded else found


@torch.no_grad()
@pytest.mark.parametrize("size", [(8, 8), (7, 7), (5, 8), (8, 6), (1, 2)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize(("groups", "bounded"), [(1, False), (4, True)])
def test_a_convolution_is_tensorflows(
    size: tuple[int, int], stride: int, kernel: int, groups: int, bounded: bool
) -> None:
    torch.manual_seed(0)
    layer = SamePadded(4, 8, kernel, stride, groups, bounded=bounded).double()
    x = torch.randn(2, 4, *size, dtype=torch.float64)
    found = layer(x)
    for photo in range(2):
        np.testing.assert_allclose(
            found[photo], layer_by_hand(layer, x[photo].numpy()), rtol=1e-12, atol=1e-12
        )


@torch.no_grad()
@pytest.mark.parametrize(
    ("inputs", "outputs", "stride", "expansion", "adds"),
    [(4, 4, 1, 3, True), (4, 4, 1, 1, True), (4, 4, 2, 3, False), (4, 6, 1, 2, False)],
)
def test_a_block_widens_filters_and_narrows(
    inputs: int, outputs: int, stride: int, expansion: int, adds: bool
) -> None:
    torch.manual_seed(0)
    block = InvertedResidual(inputs, outputs, 3, stride, expansion).double()
    x = torch.randn(1, inputs, 7, 6, dtype=torch.float64) * 8
    inner = x[0].numpy() if block.expand is None else layer_by_hand(block.expand, x[0].numpy())
    assert (block.expand is None) == (expansion == 1)
    assert block.depthwise.bounded
    assert not block.project.bounded
    expected = layer_by_hand(block.project, layer_by_hand(block.depthwise, inner))
    expected = expected + x[0].numpy() if adds else expected
    np.testing.assert_allclose(block(x)[0], expected, rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_the_rest_of_a_stem_goes_on_from_what_was_before() -> None:
    torch.manual_seed(0)
    stem = ConvStem(ConvStemConfig(4, ((1, 3, 1, 1, 4), (2, 3, 2, 2, 6)), 5)).eval()
    pixels = torch.randn(2, 3, 12, 12)
    whole = stem(pixels)
    assert whole.shape == (2, 5, 3, 3)
    for start in range(1, 4):
        torch.testing.assert_close(stem(stem.before(pixels, start), start), whole)


@pytest.mark.parametrize(("learns", "together"), [("nothing", 1), ("weights", 2), ("pixels", 2)])
def test_photos_go_one_by_one_where_no_gradients_are_taken(learns: str, together: int) -> None:
    torch.manual_seed(0)
    stem = ConvStem(ConvStemConfig(4, ((1, 3, 1, 1, 4),), 5)).requires_grad_(learns == "weights")
    pixels = torch.randn(2, 3, 12, 12, requires_grad=learns == "pixels")
    seen: list[int] = []
    stem.last.register_forward_hook(lambda _, __, output: seen.append(len(output)))
    found = stem(pixels)
    assert set(seen) == {together}
    assert found.requires_grad == (learns != "nothing")
    with torch.no_grad():
        torch.testing.assert_close(stem(pixels), found.detach())


def test_the_defaults_are_efficientnet_lite2() -> None:
    """Table 1 of the paper, 1.1 times as wide, 1.2 times as deep: 6.1 M weights, 1.28 M in its classifier."""
    stem = ConvStem(ConvStemConfig())
    assert ConvStemConfig().stride == 32
    assert len(stem.blocks) == 21
    with torch.device("meta"):
        assert ConvStem(ConvStemConfig()).last.weight.shape == (1280, 352, 1, 1)
    assert sum(weight.numel() for weight in stem.parameters()) == pytest.approx(6.1e6 - 1.281e6, rel=0.02)
