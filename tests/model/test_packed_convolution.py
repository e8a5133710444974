"""A stem's convolution laid out for oneDNN gives what the plain one gives, for maps of any side."""

import copy

import pytest
import torch

from model.network.conv_stem import SamePadded, channels_last
from model.network.packed_layers import PackedConvolution, has_kernels

FORMATS = [
    pytest.param(dtype, marks=pytest.mark.skipif(not has_kernels(dtype), reason=f"no kernels for {dtype}"))
    for dtype in (torch.float32, torch.bfloat16)
]
BOUNDS = {torch.float32: 1e-5, torch.bfloat16: 2**-8}


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("side", [16, 15], ids=["an odd row lacks", "an even number lacks"])
@pytest.mark.parametrize(
    ("kernel", "stride", "groups", "bounded", "adds"),
    [
        (1, 1, 1, False, True),
        (1, 1, 1, True, False),
        (3, 1, 1, False, True),
        (3, 1, 8, True, False),
        (3, 2, 1, True, False),
        (3, 2, 8, True, False),
        (5, 1, 8, True, False),
        (5, 2, 8, True, False),
    ],
)
def test_it_gives_what_the_plain_one_gives(
    kernel: int, stride: int, groups: int, bounded: bool, adds: bool, *, side: int, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    plain = SamePadded(8, 16, kernel, stride, groups, bounded=bounded).to(dtype)
    exact = copy.deepcopy(plain).double()
    packed = PackedConvolution(plain, side)
    for height, width in [(side, side), (side + 1, side), (2 * side, side)]:
        x = channels_last(torch.randn(1, 8, height, width, dtype=dtype) * 4)
        before = x.clone()
        added = channels_last(torch.randn_like(exact(x.double()), dtype=dtype)) if adds else None
        with torch.inference_mode():
            expected = exact(x.double(), None if added is None else added.double())
            found = packed(x, added)
        bound = BOUNDS[dtype]
        torch.testing.assert_close(found.double(), expected, rtol=bound, atol=4 * bound)
        assert torch.equal(x, before)


@pytest.mark.parametrize("dtype", FORMATS)
def test_a_copy_is_plain_again(dtype: torch.dtype) -> None:
    plain = SamePadded(8, 16, 3, 2, 8, bounded=True).to(dtype)
    again = copy.deepcopy(PackedConvolution(plain, 16))
    assert isinstance(again, SamePadded)
    assert torch.equal(again.weight, plain.weight)
    assert again.weight.shape == (16, 1, 3, 3)
