"""Linear layers and convolutions whose weights are laid out once as oneDNN's kernels read them.

A plain linear layer has its weights laid out anew in every call, or is read in a slow order: in float32
with AVX2, five rows of 768 inputs and 3,072 outputs take 1.1 ms, and 0.5 ms here; of 50,257 outputs 28 ms,
and 7.5 ms. A stem of convolutions takes 33 ms a photo of 256 × 256, and 23 ms here.
These layers are for captioning alone: they have no parameters, and gradients of their inputs only.
"""

import copy
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from model.network.caption_model import CaptionModel
from model.network.conv_stem import SamePadded
from model.network.layers import ACTIVATIONS, ActivatedLinear

ROWS = {torch.float32: 8, torch.bfloat16: 1}
"""Rows that the layout is made for. Of all layouts, these kernels are as fast, and add up in one order
however many rows there are, which others do not: a photo gets the same numbers alone and in a batch. That
holds for up to 1,024 inputs; in float32 with AVX2 for up to 3,072 (measured with AVX2, AVX-512 and AMX)."""
WIDE = 1024
"""Inputs up to which nothing has to be done for it. With more, in float32 with AVX-512, one row alone is
added up in another order than several: it gets company."""
WIDEST, FEW = 2048, 32
"""In bfloat16 with AMX, up to 40 rows of more than `WIDE` inputs are added up in one order: up to `WIDEST`
inputs, `FEW` rows are computed at a time. With more, as in a ViT-base, that would take too long."""

FUSED = {
    None: ("none", ""),
    "gelu": ("gelu", "none"),
    "gelu_new": ("gelu", "tanh"),
    "gelu_pytorch_tanh": ("gelu", "tanh"),
    "relu": ("relu", ""),
}
"""The names of `ACTIVATIONS` → what oneDNN calls them."""


class _Product(torch.autograd.Function):
    """x → x · weightᵀ + bias with a packed weight; its gradient is that of x alone."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
        ctx.packed = packed  # type: ignore[attr-defined]
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
        return out

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0] @ ctx.packed.to_dense(), None, None  # type: ignore[attr-defined]


class PackedLinear(nn.Module):
    """x → x · weightᵀ + bias, as `torch.nn.Linear`, then the activation, if it is to be with one.

    The activation is applied to the sums before they are rounded and written, which in bfloat16 halves the
    time of an encoder's wide layers. A deep copy of it is a plain layer again.
    """

    def __init__(self, plain: nn.Linear) -> None:
        """Lay out weights of float32 or bfloat16."""
        super().__init__()
        weight, bias = plain.weight, plain.bias
        self.activation = plain.activation if isinstance(plain, ActivatedLinear) else None
        self.packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(
            weight.detach().contiguous(), ROWS[weight.dtype]
        )
        self.bias = None if bias is None else bias.detach()
        self.inputs = weight.shape[1]

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) → (…, out)."""
        if torch.is_grad_enabled():
            with_gradient: Tensor = _Product.apply(x, self.packed, self.bias)  # type: ignore[no-untyped-call]
            return with_gradient if self.activation is None else ACTIVATIONS[self.activation](with_gradient)
        if self.inputs <= WIDE:
            return self._product(x)
        rows = x.flatten(0, -2)
        if x.dtype == torch.float32 and len(rows) == 1:
            return self._product(rows.expand(2, -1).contiguous())[:1].view(*x.shape[:-1], -1)
        if x.dtype == torch.bfloat16 and self.inputs <= WIDEST:
            parts = [self._product(part) for part in torch.split(rows, FEW)]
            return torch.cat(parts).view(*x.shape[:-1], -1)
        return self._product(x)

    def _product(self, x: Tensor) -> Tensor:
        after, how = FUSED[self.activation]
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, after, [], how)
        return out

    def __deepcopy__(self, memo: dict[int, Any]) -> nn.Linear:
        """Return a plain layer with the same weights, for what needs gradients or another number format."""
        weight = self.packed.to_dense()
        outputs, inputs = weight.shape
        if self.activation is None:
            plain = nn.Linear(inputs, outputs, bias=self.bias is not None)
        else:
            plain = ActivatedLinear(inputs, outputs, self.activation)
        plain.weight = nn.Parameter(weight)
        if self.bias is not None:
            plain.bias = nn.Parameter(self.bias.clone())
        return plain


class PackedConvolution(nn.Module):
    """A stem's convolution together with the ReLU6 after it; a deep copy of it is the plain one again."""

    def __init__(self, plain: SamePadded, side: int) -> None:
        """Lay out the weights for maps of `side` × `side`.

        Those of other sides may take far longer, and are left to the plain layer where they are padded
        otherwise.
        """
        super().__init__()
        # Kept for gradients: a stem's weights are few.
        self.plain = (plain,)  # in a tuple, so that it is no submodule
        shape = (1, plain.in_channels, side, side)
        self.lacking = plain.padding_of(torch.empty(shape, device="meta"))
        weight = plain.weight.detach()
        if self.lacking[0] % 2:
            # oneDNN pads all sides alike here: with a first row and column of zeros, that is right, and
            # saves the copy of the whole map into a larger one, a sixth of the stem's time.
            weight = F.pad(weight, (1, 0, 1, 0))
        self.padding = [math.ceil(self.lacking[0] / 2)] * 2
        self.packed: Tensor = torch.ops.mkldnn._reorder_convolution_weight(
            weight, self.padding, plain.stride, plain.dilation, plain.groups, shape
        )
        self.bias = None if plain.bias is None else plain.bias.detach()

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        """(B, inputs, h, w) → (B, outputs, ceil(h / stride), ceil(w / stride)), plus `added`."""
        (plain,) = self.plain
        if torch.is_grad_enabled() or plain.padding_of(x) != self.lacking:
            with_gradient: Tensor = plain(x, added)
            return with_gradient
        how = (self.packed, self.bias, self.padding, plain.stride, plain.dilation, plain.groups)
        after: tuple[str, list[float]] = ("hardtanh", [0.0, 6.0]) if plain.bounded else ("none", [])
        if added is None:
            out: Tensor = torch.ops.mkldnn._convolution_pointwise(x, *how, *after, "")
        else:
            out = torch.ops.mkldnn._convolution_pointwise.binary(x, added, *how, "add", 1.0, None, [], None)
        return out

    def __deepcopy__(self, memo: dict[int, Any]) -> SamePadded:
        """Return the plain convolution."""
        return copy.deepcopy(self.plain[0], memo)


def has_kernels(dtype: torch.dtype) -> bool:
    """Tell whether this processor multiplies numbers of this format by itself, with oneDNN's kernels for it.

    Arm's processors are left out: nobody has tried them.
    """
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    capabilities = torch.cpu.get_capabilities()
    if dtype == torch.bfloat16:  # oneDNN may have been told to use older instructions than there are
        native = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
        return bool(native) and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype == torch.float32 and bool(capabilities.get("avx2"))


def pack(model: CaptionModel) -> None:
    """Replace all linear layers of a model, where the processor has kernels for packed ones."""
    embedding = model.decoder.embedding.tokens.weight
    if embedding.device.type != "cpu" or not has_kernels(embedding.dtype):
        return
    stem = model.encoder.embedding.stem
    sides = {} if stem is None else dict(stem.sides(model.config.encoder.image_size))
    # A list of all modules would keep every plain layer's memory until the end.
    parents = [module for module in model.modules() if not isinstance(module, nn.Linear)]
    for module in parents:
        for name, child in module.named_children():
            if isinstance(child, nn.Linear):
                setattr(module, name, PackedLinear(child))
            elif type(child) is SamePadded:
                setattr(module, name, PackedConvolution(child, sides[child]))
