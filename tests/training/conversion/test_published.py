"""A new captioner on a published encoder: its weights, dimensions and preprocessing are kept."""

import json
import subprocess
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file
from transformers import Dinov2Config, Dinov2Model, ViTConfig, ViTForImageClassification, ViTModel

from archive.card import Card
from model.checkpoint.folder import load_checkpoint
from model.errors import CaptionerError, WeightsError
from model.network.encoder import Encoder
from tests.hub import run_python, serve
from tests.model.hugging_face import TheirModel
from tests.training.tiny_data import RECIPE, options, write_data
from training.__main__ import main
from training.conversion.published import is_published, read_published
from training.errors import DataError
from training.stages import start

PREPROCESSOR = {
    "image_processor_type": "BitImageProcessor",
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
    "size": {"shortest_edge": 256},
    "resample": 3,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}


def dinov2(folder: Path) -> TheirModel:
    torch.manual_seed(0)
    config = Dinov2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=70, patch_size=14
    )
    model = Dinov2Model(config).eval()
    with torch.no_grad():
        model.embeddings.position_embeddings.normal_()
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    return model


@torch.no_grad()
def test_a_dinov2_keeps_its_numbers(tmp_path: Path) -> None:
    theirs = dinov2(tmp_path)
    found = read_published(tmp_path, 30)  # two patches of 14 pixels
    assert found.config.image_size == 28
    ours = Encoder(found.config)
    ours.load_state_dict(found.weights)
    pixels = torch.randn(2, 3, 28, 28)
    expected = theirs(pixel_values=pixels).last_hidden_state
    torch.testing.assert_close(ours.eval()(pixels), expected, rtol=1e-4, atol=1e-4)
    image = found.image
    assert (image.size, image.resample) == ((28, 28), Image.Resampling.BICUBIC)
    assert image.mean == (0.485, 0.456, 0.406)


@torch.no_grad()
@pytest.mark.parametrize("kind", [ViTModel, ViTForImageClassification])
def test_a_vit_alone_or_in_a_classifier(tmp_path: Path, kind: type[ViTModel]) -> None:
    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=24,
        image_size=32,
        patch_size=8,
    )
    theirs: TheirModel = kind(config).eval()
    theirs.save_pretrained(tmp_path)
    found = read_published(tmp_path, 32)
    ours = Encoder(found.config)
    ours.load_state_dict(found.weights)
    pixels = torch.randn(2, 3, 32, 32)
    vit = theirs if kind is ViTModel else theirs.vit
    expected = vit(pixel_values=pixels).last_hidden_state
    torch.testing.assert_close(ours.eval()(pixels), expected, rtol=1e-4, atol=1e-4)
    assert found.image.mean == (0.5, 0.5, 0.5)


def test_a_captioner_is_trained_on_it_and_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = dinov2(tmp_path / "encoder")
    (tmp_path / "encoder" / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n# Eyes\n")
    monkeypatch.setattr(start, "PUBLISHED_SIZE", 28)
    recipe = yaml.safe_load(RECIPE) | {"epochs": 1, "report_epochs": 1, "encoder_rate": 0.0}
    del recipe["encoder"]
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    given = {"data": write_data(tmp_path / "data"), "config": tmp_path / "recipe.yaml"}
    given |= {name: tmp_path / name for name in ("encoder", "out", "cache")}
    assert main(["captions", *options(given)]) == 0
    found = load_checkpoint(tmp_path / "out" / "checkpoint")
    assert found.model.config.encoder.layer_scale
    assert found.image.size == (28, 28)
    weight = theirs.embeddings.patch_embeddings.projection.weight.half().float().flatten(1)
    assert torch.equal(found.model.encoder.embedding.projection.weight, weight)
    card = Card.of_folder(tmp_path / "out" / "checkpoint")
    assert card.licence == "cc-by-nc-4.0"
    assert "encoder `Eyes`: licence cc-by-nc-4.0" in (card.limits or "")


def broken(folder: Path, **fields: object) -> Path:
    dinov2(folder)
    config = json.loads((folder / "config.json").read_text()) | fields
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model_type": "swin"}, "^encoder .*: model_type is 'swin': one of 'vit', 'dinov2'"),
        ({"num_hidden_layers": 3}, r"^the weights of encoder .* missing \(18\): encoder\.layer\.2\."),
        ({"num_hidden_layers": 1}, r"unknown \(18\): encoder\.layer\.1\.attention\.attention\.key\.bias, "),
        ({"mlp_ratio": 2}, r"misshapen \(6\): .*fc1\.weight is \(128, 32\) instead of \(64, 32\)"),
        ({"patch_size": 35}, r"position_embeddings is \(1, 26, 32\) instead of \(1, 5, 32\)"),
        ({"qkv_bias": False}, r"unknown \(6\): encoder\.layer\.0\.attention\.attention\.key\.bias, "),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path: Path, fields: dict[str, object], message: str) -> None:
    with pytest.raises((DataError, CaptionerError), match=message) as raised:
        read_published(broken(tmp_path / "encoder", **fields), 28)
    assert "\n" not in str(raised.value)


def test_what_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is neither a folder nor an OWNER/NAME"):
        read_published(tmp_path / "nowhere" / "at" / "all", 28)


def test_a_file_of_pretraining_is_told_from_a_published_encoder() -> None:
    assert not is_published(Path("runs/pretrain/encoder.safetensors"))
    assert is_published(Path("facebook/dinov2-small"))


def test_a_recipe_with_dimensions_of_its_own_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dinov2(tmp_path / "encoder")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    given = {"data": write_data(tmp_path / "data"), "config": tmp_path / "recipe.yaml"}
    given |= {"encoder": tmp_path / "encoder", "out": tmp_path / "out"}
    assert main(["captions", *options(given)]) == 1
    assert "brings its own dimensions: leave `encoder` out of the recipe" in caplog.messages[-1]


def test_another_networks_weights_are_one_line(tmp_path: Path) -> None:
    dinov2(tmp_path)
    save_file({"features.0.weight": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"^the weights of encoder .* embeddings\.cls_token, which a ViT"):
        read_published(tmp_path, 28)


def hub_run(tmp_path: Path, endpoint: str, repository: str) -> subprocess.CompletedProcess[str]:
    recipe = yaml.safe_load(RECIPE) | {"epochs": 1, "report_epochs": 1}
    del recipe["encoder"]
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    data = write_data(tmp_path / "data")
    (data / "captions_dev.json").unlink()  # scores start a Java program
    given = {"data": data, "config": tmp_path / "recipe.yaml", "encoder": repository}
    given |= {name: tmp_path / name for name in ("out", "cache")}
    arguments = [part for name, value in given.items() for part in (f"--{name}", str(value))]
    return run_python(tmp_path / "home", endpoint, "-m", "training", "captions", *arguments)


def test_a_repository_of_the_hub_is_trained_on(tmp_path: Path) -> None:
    theirs = dinov2(tmp_path / "encoder")
    with serve({path.name: path.read_bytes() for path in (tmp_path / "encoder").iterdir()}) as endpoint:
        done = hub_run(tmp_path, endpoint, "owner/tiny")
    assert done.returncode == 0, done.stderr
    found = load_checkpoint(tmp_path / "out" / "checkpoint")
    assert (found.image.size, found.image.mean) == ((224, 224), (0.485, 0.456, 0.406))
    learned = found.model.encoder.embedding.projection.weight
    start = theirs.embeddings.patch_embeddings.projection.weight.flatten(1)
    torch.testing.assert_close(learned, start, rtol=0, atol=0.05)  # one step of training
    assert not torch.equal(learned, start)
    assert "- encoder `owner/tiny`" in (Card.of_folder(tmp_path / "out" / "checkpoint").recipe or "")


def test_a_repository_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with serve({}) as endpoint:
        done = hub_run(tmp_path, endpoint, "owner/none")
    assert done.returncode == 1
    assert done.stderr.strip().endswith(
        "encoder owner/none is neither a folder here nor a repository that this token may read"
    )
    assert "Traceback" not in done.stderr
