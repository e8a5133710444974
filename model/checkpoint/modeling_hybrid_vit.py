"""Hybrid encoders for transformers: saved beside their weights, where `trust_remote_code=True` finds it.

    AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True)

Nothing here imports this file, and it imports nothing of the engine: it is a model of its own, which the
engine is tested against.
"""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
    ViTConfig,
    ViTModel,
)
from transformers.conversion_mapping import (
    get_checkpoint_conversion_mapping,
    register_checkpoint_conversion_mapping,
)


class HybridViTConfig(ViTConfig):
    """A ViT's config with `stem`: `first_width`, `width`, and `stages`.

    A stage is (blocks, kernel, stride, expansion, width).
    """

    model_type = "hybrid-vit"

    def __init__(self, stem: dict[str, Any] | None = None, **kwargs: Any) -> None:  # noqa: ANN401
        self.stem = stem or {}
        super().__init__(**kwargs)


class SameConv2d(nn.Module):
    """Padding as TensorFlow's "SAME", a convolution, and ReLU6 where `bounded`."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1, bounded: bool
    ) -> None:
        super().__init__()
        self.kernel, self.stride, self.bounded = kernel, stride, bounded
        self.weight = nn.Conv2d(inputs, outputs, kernel, groups=groups).weight
        self.bias = nn.Parameter(self.weight.new_zeros(outputs))
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) → (B, outputs, ceil(h / stride), ceil(w / stride))."""
        down, across = (max(self.kernel - (side % self.stride or self.stride), 0) for side in x.shape[2:])
        x = F.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2))
        x = F.conv2d(x, self.weight, self.bias, self.stride, groups=self.groups)
        return x.clamp(0, 6) if self.bounded else x


class InvertedResidual(nn.Module):
    """A block of EfficientNet-Lite."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expand = SameConv2d(inputs, inner, 1, bounded=True) if expansion > 1 else nn.Identity()
        self.depthwise = SameConv2d(inner, inner, kernel, stride=stride, groups=inner, bounded=True)
        self.project = SameConv2d(inner, outputs, 1, bounded=False)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) → (B, outputs, h / stride, w / stride)."""
        out: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + out if self.residual else out


class Stem(nn.Module):
    """EfficientNet-Lite without its classifier."""

    def __init__(self, first_width: int, width: int, stages: list[list[int]]) -> None:
        super().__init__()
        self.first = SameConv2d(3, first_width, 3, stride=2, bounded=True)
        inputs, blocks = first_width, []
        for repeats, kernel, stride, expansion, outputs in stages:
            for index in range(repeats):
                blocks.append(InvertedResidual(inputs, outputs, kernel, 1 if index else stride, expansion))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.last = SameConv2d(inputs, width, 1, bounded=True)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, height, width) → (B, width, height / stride, width / stride)."""
        out: Tensor = self.last(self.blocks(self.first(pixels)))
        return out


class StemPatchEmbeddings(nn.Module):
    """Every place of the stem's last map, projected: takes the place of `ViTPatchEmbeddings`."""

    def __init__(self, config: HybridViTConfig) -> None:
        super().__init__()
        self.stem = Stem(**config.stem)
        self.projection = nn.Conv2d(config.stem["width"], config.hidden_size, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, height, width) → (B, patches, C)."""
        out: Tensor = self.projection(self.stem(pixels)).flatten(2).transpose(1, 2)
        return out


class HybridViTModel(ViTModel):
    """A ViT on convolutions."""

    config_class = HybridViTConfig

    def __init__(self, config: HybridViTConfig, add_pooling_layer: bool = False) -> None:
        super().__init__(config, add_pooling_layer=add_pooling_layer)
        self.embeddings.patch_embeddings = StemPatchEmbeddings(config)  # type: ignore[assignment]


class HybridCaptionerConfig(VisionEncoderDecoderConfig):
    """The config of such an encoder with a decoder."""


class HybridCaptioner(VisionEncoderDecoderModel):
    """Such an encoder with a decoder."""

    config_class = HybridCaptionerConfig


AutoConfig.register(HybridViTConfig.model_type, HybridViTConfig, exist_ok=True)
AutoModel.register(HybridViTConfig, HybridViTModel, exist_ok=True)
# transformers renames a ViT's weights when it reads them, by the name of the class.
register_checkpoint_conversion_mapping(
    "HybridViTModel", get_checkpoint_conversion_mapping("ViTModel"), overwrite=True
)
