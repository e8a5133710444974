"""A DINOv2 out of an ONNX graph: the folder computes what onnx's own evaluator makes of the graph."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from safetensors.torch import load_file
from torch import Tensor
from transformers import Dinov2Config, Dinov2Model

from model.network.encoder import Encoder
from training.__main__ import main
from training.conversion.published import read_published

HEADS, PATCH, SIDE, WIDTH, LAYERS = 2, 4, 12, 8, 2

Attribute: TypeAlias = Any
"""Of a node: numbers, or a tensor."""


class Drawn:
    """A graph as PyTorch's exporter writes one of `Dinov2Model`, for one photo, with a head on top."""

    def __init__(self, weights: dict[str, Tensor], prefix: str) -> None:
        self.weights, self.prefix = weights, prefix
        self.nodes: list[onnx.NodeProto] = []
        self.stored: list[onnx.TensorProto] = []
        output = self.network("input_image")
        self.add("Mul", "decoder", [output, self.store("decoder.scale", torch.ones(WIDTH))])
        self.add("MatMul", "decoder", [output, self.store("onnx::MatMul_head", torch.ones(WIDTH, 1))])
        photo = helper.make_tensor_value_info("input_image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
        features = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "drawn", [photo], [features], self.stored)
        self.model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=7)

    def network(self, photo: str) -> str:
        conv = "embeddings.patch_embeddings.projection"
        x = self.node("Conv", conv, [photo, *self.named(conv)], strides=[PATCH, PATCH])
        x = self.node("Reshape", "embeddings.patch_embeddings", [x, self.constant([1, WIDTH, -1])])
        x = self.node("Transpose", "embeddings.patch_embeddings", [x], perm=[0, 2, 1])
        x = self.node("Concat", "embeddings", [self.named("embeddings.cls_token", "")[0], x], axis=1)
        positions, grid = self.weights["embeddings.position_embeddings"], SIDE // PATCH
        patches = self.store("onnx::Reshape_1962", positions[:, 1:])
        patches = self.node("Reshape", "embeddings", [patches, self.constant([1, grid, grid, WIDTH])])
        patches = self.node("Reshape", "embeddings", [patches, self.constant([1, -1, WIDTH])])
        of_class = self.store("onnx::Concat_1957", positions[:, :1])
        positioned = self.node("Concat", "embeddings", [of_class, patches], axis=1)
        x = self.node("Add", "embeddings", [x, positioned])
        for layer in range(LAYERS):
            x = self.layer(x, f"encoder.layer.{layer}")
        return self.norm(x, "layernorm")

    def layer(self, x: str, module: str) -> str:
        y = self.attend(self.norm(x, f"{module}.norm1"), f"{module}.attention.attention")
        y = self.linear(y, f"{module}.attention.output.dense")
        x = self.node("Add", module, [self.scale(y, f"{module}.layer_scale1"), x])
        y, gelu = (
            self.linear(self.norm(x, f"{module}.norm2"), f"{module}.mlp.fc1"),
            f"{module}.mlp.activation",
        )
        error = self.node("Erf", gelu, [self.node("Div", gelu, [y, self.constant(2**0.5)])])
        y = self.node("Mul", gelu, [y, self.node("Add", gelu, [error, self.constant(1.0)])])
        y = self.linear(self.node("Mul", gelu, [y, self.constant(0.5)]), f"{module}.mlp.fc2")
        return self.node("Add", module, [self.scale(y, f"{module}.layer_scale2"), x])

    def attend(self, x: str, module: str) -> str:
        channels, orders = WIDTH // HEADS, {"key": [0, 2, 3, 1], "value": [0, 2, 1, 3], "query": [0, 2, 1, 3]}
        parts: dict[str, str] = {}
        for part, order in orders.items():
            y = self.linear(x, f"{module}.{part}")
            sizes = [self.constant([size]) for size in (1, -1, HEADS, channels)]
            y = self.node("Reshape", module, [y, self.node("Concat", module, sizes, axis=0)])
            parts[part] = self.node("Transpose", module, [y], perm=order)
        scores = self.node("MatMul", module, [parts["query"], parts["key"]])
        scores = self.node("Mul", module, [scores, self.constant(channels**-0.5)])
        y = self.node("MatMul", module, [self.node("Softmax", module, [scores], axis=-1), parts["value"]])
        y = self.node("Transpose", module, [y], perm=[0, 2, 1, 3])
        return self.node("Reshape", module, [y, self.constant([1, -1, WIDTH])])

    def norm(self, x: str, module: str) -> str:
        weight, bias = self.named(module)
        x = self.node("Sub", module, [x, self.node("ReduceMean", module, [x], axes=[-1])])
        squares = self.node("Pow", module, [x, self.constant(2.0)])
        variance = self.node("ReduceMean", module, [squares], axes=[-1])
        variance = self.node("Add", module, [variance, self.constant(1e-3)])
        x = self.node("Div", module, [x, self.node("Sqrt", module, [variance])])
        return self.node("Add", module, [self.node("Mul", module, [x, weight]), bias])

    def linear(self, x: str, module: str) -> str:
        matrix = self.store(f"onnx::MatMul_{len(self.stored)}", self.weights[f"{module}.weight"].T)
        y = self.node("MatMul", module, [x, matrix])
        if f"{module}.bias" not in self.weights:
            return y
        return self.node("Add", module, [self.named(module, ".bias")[0], y])

    def scale(self, x: str, module: str) -> str:
        return self.node("Mul", module, [x, *self.named(module, ".lambda1")])

    def named(self, module: str, *endings: str) -> list[str]:
        names = [module + ending for ending in endings or (".weight", ".bias")]
        return [self.store(self.prefix + name, self.weights[name]) for name in names]

    def store(self, name: str, weight: Tensor) -> str:
        self.stored.append(numpy_helper.from_array(weight.contiguous().numpy(), name))
        return name

    def constant(self, value: float | list[int]) -> str:
        array = np.array(value, dtype=np.int64 if isinstance(value, list) else np.float32)
        return self.add("Constant", "", [], value=numpy_helper.from_array(array))

    def node(self, op: str, module: str, inputs: list[str], **attributes: Attribute) -> str:
        return self.add(op, self.prefix + module, inputs, **attributes)

    def add(self, op: str, module: str, inputs: list[str], **attributes: Attribute) -> str:
        """A layer of a list is one part of the path, as in `encoder/layer.0/norm1`."""
        path = "/".join(["", *module.replace(".layer.", "/layer:").split("."), op]).replace(":", ".")
        name = f"{path}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [f"{name}_output_0"], name, **attributes))
        return f"{name}_output_0"


def drawn(folder: Path, *, prefix: str = "backbone.", qkv_bias: bool = True) -> onnx.ModelProto:
    """A graph with the weights of a `Dinov2Model` that is left in `folder`."""
    config = Dinov2Config(
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        mlp_ratio=3,
        image_size=SIDE,
        patch_size=PATCH,
        qkv_bias=qkv_bias,
        layer_norm_eps=1e-3,
    )
    theirs = Dinov2Model(config)
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    theirs.save_pretrained(folder)
    return Drawn(load_file(folder / "model.safetensors"), prefix).model


def convert(model: onnx.ModelProto, folder: Path) -> tuple[int, Path]:
    onnx.save(model, folder / "drawn.onnx")
    out = folder / "encoder"
    return main(["dinov2-onnx", "--onnx", str(folder / "drawn.onnx"), "--out", str(out)]), out


@torch.no_grad()
@pytest.mark.parametrize("qkv_bias", [True, False])
@pytest.mark.parametrize("prefix", ["backbone.", "", "net.body."])
def test_the_folder_computes_what_the_graph_computes(tmp_path: Path, prefix: str, qkv_bias: bool) -> None:
    model = drawn(tmp_path / "theirs", prefix=prefix, qkv_bias=qkv_bias)
    code, out = convert(model, tmp_path)
    assert code == 0
    photo = torch.randn(1, 3, SIDE, SIDE)
    made: Any = ReferenceEvaluator(model).run(None, {"input_image": photo.numpy()})
    expected = torch.from_numpy(made[0])
    assert expected.std() > 0.3
    found = read_published(out, SIDE)
    ours = Encoder(found.config).eval()
    ours.load_state_dict(found.weights)
    torch.testing.assert_close(ours(photo), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
    loaded: Any = Dinov2Model.from_pretrained(out, output_loading_info=True)
    assert not any(loaded[1].values())  # no weight is missing, left over or misshapen
    theirs = loaded[0].eval()(pixel_values=photo).last_hidden_state
    torch.testing.assert_close(theirs, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
    kept, before = (load_file(folder / "model.safetensors") for folder in (out, tmp_path / "theirs"))
    del before["embeddings.mask_token"]
    assert kept.keys() == before.keys()
    assert all(torch.equal(kept[name], weight) for name, weight in before.items())


def stored(model: onnx.ModelProto, ending: str) -> onnx.TensorProto:
    (found,) = (weight for weight in model.graph.initializer if weight.name.endswith(ending))
    return found


def rename(model: onnx.ModelProto, ending: str, name: str) -> None:
    weight = stored(model, ending)
    for node in model.graph.node:
        for place, read in enumerate(node.input):
            if read == weight.name:
                node.input[place] = name
    weight.name = name


def nodes(model: onnx.ModelProto, op: str, part: str) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type == op and part in node.name]


def change(found: list[onnx.NodeProto], **fields: str) -> None:
    assert found
    for node in found:
        for name, value in fields.items():
            setattr(node, name, value)


def shorten(weight: onnx.TensorProto) -> None:
    weight.CopyFrom(numpy_helper.from_array(np.zeros(3, np.float32), weight.name))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda m: rename(m, "1.mlp.fc1.bias", "onnx::Add_7"),
            "what onnx::Add_7 is cannot be told from /back",
        ),
        (lambda m: rename(m, "1.mlp.fc1.bias", "x"), r"missing \(1\): encoder\.layer\.1\.mlp\.fc1\.bias"),
        (lambda m: rename(m, "decoder.scale", "backbone.encoder.gate"), r"unknown \(1\): encoder\.gate"),
        (
            lambda m: shorten(stored(m, "1.norm1.bias")),
            r"misshapen \(1\): .*1\.norm1\.bias is \(3,\) instead",
        ),
        (
            lambda m: change(
                nodes(m, "MatMul", "layer.0/mlp/fc2"), name="/backbone/encoder/layer.0/mlp/fc1/MatMul"
            ),
            r"two of encoder\.layer\.0\.mlp\.fc1\.weight: onnx::MatMul_",
        ),
        (
            lambda m: m.graph.initializer.append(numpy_helper.from_array(np.zeros(2), "onnx::MatMul_1")),
            "nothing reads onnx::MatMul_1",
        ),
        (
            lambda m: rename(m, "embeddings.cls_token", "backbone.embeddings.token"),
            "0 weights of the name embeddings.cls_token",
        ),
        (
            lambda m: rename(m, "decoder.scale", "other.embeddings.cls_token"),
            "2 weights of the name embeddings.cls_token",
        ),
        (lambda m: change(nodes(m, "Erf", ""), op_type="Tanh"), "no GELU by the error function"),
        (lambda m: change(nodes(m, "Reshape", "attention/attention"), name="/x"), "heads cannot be counted"),
        (lambda m: change(nodes(m, "Sqrt", ""), name="/x"), "epsilon is not to be found"),
        (lambda m: change(nodes(m, "Concat", "embeddings"), name="/x"), "it lacks embeddings.position_embed"),
    ],
)
def test_what_is_left_over_missing_or_misshapen_is_one_line(
    tmp_path: Path,
    damage: Callable[[onnx.ModelProto], object],
    message: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = drawn(tmp_path / "theirs")
    damage(model)
    code, out = convert(model, tmp_path)
    assert code == 1
    (line,) = caplog.messages
    assert "\n" not in line
    assert line.startswith(f"{tmp_path / 'drawn.onnx'} holds no DINOv2 that can be taken out: ")
    assert re.search(message, line)
    assert not out.exists()


@pytest.mark.parametrize("content", [None, b"no graph at all"])
def test_a_file_that_cannot_be_read_is_one_line(
    tmp_path: Path, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.onnx"
    if content is not None:
        path.write_bytes(content)
    assert main(["dinov2-onnx", "--onnx", str(path), "--out", str(tmp_path / "out")]) == 1
    (line,) = caplog.messages
    assert line.startswith(f"{path} cannot be read")
    assert "\n" not in line


def test_a_folder_with_something_in_it_is_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "mine").touch()
    code, out = convert(drawn(tmp_path / "theirs"), tmp_path)
    assert code == 1
    assert "a new or empty folder is needed" in caplog.messages[0]
    assert [path.name for path in out.iterdir()] == ["mine"]
    (out / "mine").unlink()
    assert convert(drawn(tmp_path / "theirs"), tmp_path)[0] == 0
