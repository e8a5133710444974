"""EfficientNet-Lite as the stem of a hybrid encoder: photo → feature map (Tan and Le, 2019, table 1).

The Lite variants have no squeeze-and-excitation and use ReLU6, so that a batch norm folds into the
convolution before it: there is none here. A hybrid encoder's ViT reads the last map (Dosovitskiy et al.,
2021, section 3.1, "hybrid architecture").
"""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.network.config import ConvStemConfig

RGB = 3


class SamePadded(nn.Conv2d):
    """A convolution whose output has ceil(side / stride) values along a side, as TensorFlow's "SAME".

    Where padding is odd, its larger half is right and below: PyTorch's own would shift the photo. ReLU6
    comes after it, where `bounded`.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, *, bounded: bool
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride=stride, groups=groups)
        self.bounded = bounded

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        """(B, inputs, h, w) → (B, outputs, ceil(h / stride), ceil(w / stride)), plus `added`."""
        above, left = self.padding_of(x)
        if above == left and above % 2 == 0:  # the convolution adds it by itself, which saves a copy
            padding = above // 2
        else:
            x = F.pad(x, (left // 2, left - left // 2, above // 2, above - above // 2))
            padding = 0
        out = F.conv2d(x, self.weight, self.bias, self.stride, padding, 1, self.groups)
        out = F.relu6(out) if self.bounded else out
        return out if added is None else added + out

    def padding_of(self, x: Tensor) -> tuple[int, int]:
        """Return how many rows and columns a map (B, inputs, h, w) lacks."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        above, left = (
            max((math.ceil(side / stride) - 1) * stride + kernel - side, 0) for side in x.shape[2:]
        )
        return above, left


class InvertedResidual(nn.Module):
    """Widen, filter each channel by itself, narrow (Sandler et al., "MobileNetV2", 2018, section 3.3)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expand = SamePadded(inputs, inner, 1, bounded=True) if expansion > 1 else None
        self.depthwise = SamePadded(inner, inner, kernel, stride, groups=inner, bounded=True)
        self.project = SamePadded(inner, outputs, 1, bounded=False)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) → (B, outputs, h / stride, w / stride)."""
        inner = x if self.expand is None else self.expand(x)
        out: Tensor = self.project(self.depthwise(inner), x if self.residual else None)
        return out


def channels_last(x: Tensor) -> Tensor:
    """Lay out (B, C, h, w) with a place's channels side by side, which takes a third off the convolutions."""
    return x.contiguous(memory_format=torch.channels_last)


class ConvStem(nn.Module):
    """The whole stem. `blocks` are numbered from the photo on."""

    def __init__(self, config: ConvStemConfig) -> None:
        super().__init__()
        width = config.first_width
        self.first = SamePadded(RGB, width, 3, 2, bounded=True)
        blocks = []
        for repeats, kernel, stride, expansion, outputs in config.stages:
            for index in range(repeats):
                blocks.append(
                    InvertedResidual(width, outputs, kernel, stride if index == 0 else 1, expansion)
                )
                width = outputs
        self.blocks = nn.ModuleList(blocks)
        self.last = SamePadded(width, config.width, 1, bounded=True)

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """(B, 3, height, width), normalised → (B, C, height / stride, width / stride).

        With `start`, x is what `before` made of the photos: the blocks from `start` on are what is left.
        """
        learns = torch.is_grad_enabled() and (
            x.requires_grad or any(weight.requires_grad for weight in self.parameters())
        )
        if x.device.type == "cpu" and not learns and len(x) > 1:
            # One photo's maps stay in the processor's cache: eight at once take 1.8 times as long each.
            return torch.cat([self.forward(one, start) for one in x.unsqueeze(1)])
        x = self.before(x, 0) if start == 0 else channels_last(x)
        for block in list(self.blocks)[start:]:
            x = block(x)
        out: Tensor = self.last(x)
        return out

    def before(self, pixels: Tensor, start: int) -> Tensor:
        """Photos (B, 3, height, width) → the map that block `start` reads."""
        x: Tensor = self.first(channels_last(pixels))
        for block in list(self.blocks)[:start]:
            x = block(x)
        return x

    def sides(self, side: int) -> Iterator[tuple[SamePadded, int]]:
        """Yield each convolution with the side of the map that it reads, for photos of `side` pixels."""
        for layer in self.modules():
            if isinstance(layer, SamePadded):  # in the order of the data's way
                yield layer, side
                side = math.ceil(side / layer.stride[0])
