"""A pretrained stem: batch norms folded into convolutions give what a network with both gives."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from model.network.config import ConvStemConfig
from model.network.conv_stem import ConvStem
from training.__main__ import main
from training.conversion.efficientnet_lite import folded, names_of
from training.errors import DataError

SMALL = ConvStemConfig(first_width=8, stages=((1, 3, 1, 1, 6), (2, 5, 2, 3, 10)), width=12)


def drawn(config: ConvStemConfig) -> dict[str, Tensor]:
    """Weights in the names of the package, batch norms among them."""
    torch.manual_seed(0)
    stored = {"_fc.weight": torch.zeros(4, config.width), "_fc.bias": torch.zeros(4)}
    shapes = {name: weight.shape for name, weight in ConvStem(config).state_dict().items()}
    for ours, (convolution, norm) in names_of(config).items():
        shape = shapes[f"{ours}.weight"]
        stored[f"{convolution}.weight"] = torch.randn(shape) / shape[1:].numel() ** 0.5
        stored[f"{norm}.weight"] = torch.rand(shape[0]) + 0.5
        stored[f"{norm}.bias"] = torch.randn(shape[0])
        stored[f"{norm}.running_mean"] = torch.randn(shape[0]) * 0.3
        stored[f"{norm}.running_var"] = torch.rand(shape[0]) + 0.5
        stored[f"{norm}.num_batches_tracked"] = torch.tensor(7)
    return stored


def unfolded(stored: dict[str, Tensor], x: Tensor) -> Tensor:
    """The network that SMALL describes, convolution by convolution and norm by norm."""

    def layer(x: Tensor, convolution: str, norm: str, stride: int = 1, groups: int = 1) -> Tensor:
        weight = stored[f"{convolution}.weight"]
        kernel, side = weight.shape[2], x.shape[2]
        missing = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        x = F.pad(x, [missing // 2, missing - missing // 2] * 2)
        x = F.conv2d(x, weight, stride=stride, groups=groups)
        mean, variance = stored[f"{norm}.running_mean"], stored[f"{norm}.running_var"]
        return F.batch_norm(x, mean, variance, stored[f"{norm}.weight"], stored[f"{norm}.bias"], eps=1e-3)

    x = F.relu6(layer(x, "_conv_stem", "_bn0", 2))
    x = F.relu6(layer(x, "_blocks.0._depthwise_conv", "_blocks.0._bn1", 1, 8))
    x = layer(x, "_blocks.0._project_conv", "_blocks.0._bn2")
    for block, stride, inner in ((1, 2, 18), (2, 1, 30)):
        name = f"_blocks.{block}"
        y = F.relu6(layer(x, f"{name}._expand_conv", f"{name}._bn0"))
        y = F.relu6(layer(y, f"{name}._depthwise_conv", f"{name}._bn1", stride, inner))
        y = layer(y, f"{name}._project_conv", f"{name}._bn2")
        x = x + y if block == 2 else y
    return F.relu6(layer(x, "_conv_head", "_bn1"))


@torch.no_grad()
def test_folded_weights_compute_the_same() -> None:
    stored = {name: weight.double() for name, weight in drawn(SMALL).items()}
    stem = ConvStem(SMALL).double()
    stem.load_state_dict(folded(stored, SMALL))
    for side in (16, 22, 25):
        x = torch.randn(2, 3, side, side, dtype=torch.float64)
        expected = unfolded(stored, x)
        assert 0 < expected.mean() < 6
        torch.testing.assert_close(stem(x), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_bn0.bias": None}, "_bn0.bias is missing"),
        ({"extra.weight": torch.zeros(1)}, "extra.weight is unknown"),
        (
            {"_conv_stem.weight": torch.zeros(8, 4, 3, 3)},
            "_conv_stem.weight is (8, 4, 3, 3) instead of (8, 3, 3, 3)",
        ),
        ({"_bn1.running_var": torch.ones(13)}, "_bn1.running_var is (13,) instead of (12,)"),
        ({"_bn1.bias": torch.ones(1, 12)}, "_bn1.bias is (1, 12) instead of (12,)"),
    ],
)
def test_other_weights_are_refused(change: dict[str, Tensor | None], message: str) -> None:
    stored = {name: weight for name, weight in (drawn(SMALL) | change).items() if weight is not None}
    with pytest.raises(DataError) as error:
        folded(stored, SMALL)
    assert str(error.value) == f"these are no weights of an EfficientNet-Lite2: {message}"


def test_of_many_faults_the_first_are_named() -> None:
    with pytest.raises(DataError, match=r"_blocks\.0\._bn1\.bias is missing, .* and \d+ more$") as error:
        folded({"conv1.weight": torch.zeros(1)}, SMALL)
    assert len(str(error.value)) < 250


def test_the_command_writes_a_stem(tmp_path: Path) -> None:
    torch.save(drawn(ConvStemConfig()), tmp_path / "lite2.pth")
    arguments = ["--weights", str(tmp_path / "lite2.pth"), "--out", str(tmp_path / "stem.safetensors")]
    assert main(["efficientnet-lite", *arguments]) == 0
    ConvStem(ConvStemConfig()).load_state_dict(load_file(tmp_path / "stem.safetensors"))


@pytest.mark.parametrize("content", [None, b"no weights at all"])
def test_a_file_that_cannot_be_read_is_one_line(
    tmp_path: Path, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "lite2.pth"
    if content is not None:
        path.write_bytes(content)
    assert main(["efficientnet-lite", "--weights", str(path), "--out", str(tmp_path / "out")]) == 1
    (line,) = caplog.messages
    assert line.startswith(f"{path} cannot be read")


@pytest.mark.parametrize(
    "content", [[torch.zeros(1)], {"state_dict": {"_bn0.bias": torch.zeros(1)}}, {1: torch.zeros(1)}]
)
def test_a_file_of_something_else_is_one_line(
    tmp_path: Path, content: object, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "lite2.pth"
    torch.save(content, path)
    assert main(["efficientnet-lite", "--weights", str(path), "--out", str(tmp_path / "out")]) == 1
    assert caplog.messages == [f"{path} holds something else than tensors by name"]
