"""Linear layers whose weights are laid out once as oneDNN's bfloat16 kernels read them.

A plain layer has its weights laid out anew in every call: five rows of 256 inputs and 768 outputs took
56 µs, and take 37 µs here. These layers are for captioning alone: they have no parameters and no gradients.
"""

from typing import Any

import torch
from torch import Tensor, nn

from model.network import CaptionModel

ROWS = 1
"""Rows that the layout is made for. Of all layouts, this one's kernels are as fast, and add up in one
order however many rows there are (measured with AMX for up to 1,024 inputs): a photo gets the same
numbers alone and in a batch, which others break for more than 512 inputs."""


class PackedLinear(nn.Module):
    """x → x · weightᵀ + bias, as `torch.nn.Linear`. A deep copy of it is a plain one again."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        """Lay out bfloat16 weights (out, in); `bias` is (out,)."""
        super().__init__()
        self.packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), ROWS)
        self.bias = None if bias is None else bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) → (…, out)."""
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")
        return out

    def __deepcopy__(self, memo: dict[int, Any]) -> nn.Linear:
        """Return a plain layer with the same weights, for what needs gradients or another number format."""
        weight = self.packed.to_dense()
        outputs, inputs = weight.shape
        plain = nn.Linear(inputs, outputs, bias=self.bias is not None, dtype=weight.dtype)
        plain.weight = nn.Parameter(weight)
        if self.bias is not None:
            plain.bias = nn.Parameter(self.bias.clone())
        return plain


def has_kernels() -> bool:
    """Tell whether this processor multiplies bfloat16 by itself, and PyTorch was built with oneDNN for it.

    Arm's processors are left out: nobody has tried them.
    """
    capabilities = torch.cpu.get_capabilities()
    native = any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))
    return native and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]


def pack(model: CaptionModel) -> None:
    """Replace all linear layers of a bfloat16 model, where the processor has kernels for packed ones."""
    embedding = model.decoder.embedding.tokens.weight
    if embedding.device.type != "cpu" or embedding.dtype != torch.bfloat16:
        return
    if not has_kernels():
        return
    projection, head = model.encoder.embedding.projection, model.decoder.head
    model.encoder.embedding.packed = PackedLinear(projection.weight.flatten(1), projection.bias)
    weight = embedding if head.output is None else head.output.weight
    head.packed, head.output = PackedLinear(weight, head.bias), None
    # A list of all modules would keep every plain layer's memory until the end.
    parents = [module for module in model.modules() if type(module) is not nn.Linear]
    for module in parents:
        for name, child in module.named_children():
            if type(child) is nn.Linear:
                setattr(module, name, PackedLinear(child.weight, child.bias))
