"""Photos without captions get those that fit what they show; what cannot be used is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from transformers import VisionEncoderDecoderModel

from model.checkpoint.folder import load_checkpoint
from model.image import to_tensor
from model.network.config import ConvStemConfig
from model.network.conv_stem import ConvStem
from tests.tiny import write_tiny_checkpoint
from tests.training.tiny_data import options
from training.__main__ import main
from training.data.captions import read_captions
from training.data.merge import coco
from training.labelling.label import LabelRecipe, balance, likelihoods
from training.recipe import read_recipe

COLOURS = {"red": (220, 20, 20), "blue": (20, 20, 220)}
RECIPE = """
words: {photos_per_word: 4, epochs: 30, rate: 1.0e-2, weight_decay: 0.0, dropout: 0.0}
captions_per_word: 1
candidates: 2
consensus_weight: 1.0
captions_per_photo: 2
kept: 1.0
seed: 0
"""
TEXT = [f"there is a {colour} wall {rest}" for colour in COLOURS for rest in ("over here", "in this town")]
TEXT += ["a green wall somewhere in town", "too short"]


def write_photos(folder: Path, each: int, seed: int) -> list[tuple[str, list[str]]]:
    """Noisy photos of the two colours, each with a caption of its colour."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    entries = []
    for colour, rgb in COLOURS.items():
        for index in range(each):
            pixels = np.clip(rng.normal(rgb, 15, (32, 32, 3)), 0, 255).astype(np.uint8)
            name = f"{colour}-{index}.png"
            Image.fromarray(pixels).save(folder / name)
            entries.append((name, [f"look at that {colour} wall"]))
    return entries


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("given")
    entries = write_photos(folder / "data" / "images", 8, 1)
    (folder / "data" / "captions_train.json").write_text(json.dumps(coco(entries)))
    others = write_photos(folder / "more" / "images", 3, 2)
    (folder / "more" / "names.txt").write_text("\n".join(name for name, _ in others) + "\n")
    (folder / "text.txt").write_text("\n".join(TEXT))
    (folder / "label.yaml").write_text(RECIPE)
    torch.manual_seed(0)
    stem = ConvStem(ConvStemConfig())
    for weight in stem.parameters():
        if weight.ndim > 1:
            nn.init.kaiming_normal_(weight)  # torch's own would let all photos look alike
    save_file(stem.state_dict(), folder / "stem.safetensors")
    write_tiny_checkpoint(folder / "checkpoint")
    return {
        "data": folder / "data",
        "photos": folder / "more" / "names.txt",
        "text": folder / "text.txt",
        "checkpoint": folder / "checkpoint",
        "stem": folder / "stem.safetensors",
        "config": folder / "label.yaml",
        "cache": folder / "cache",
    }


def test_a_photo_gets_captions_of_what_it_shows(given: dict[str, Path], tmp_path: Path) -> None:
    assert main(["label", *options({**given, "out": tmp_path / "out"})]) == 0
    found = read_captions(tmp_path / "out", "train")
    assert set(found.names) == {f"{colour}-{index}.png" for colour in COLOURS for index in range(3)}
    for name, captions in zip(found.names, found.captions, strict=True):
        colour = name.partition("-")[0]
        assert sorted(captions) == sorted(text for text in TEXT if colour in text)

    merged = tmp_path / "merged"
    assert main(["merge", str(given["data"]), "--train", str(tmp_path / "out"), "--out", str(merged)]) == 0
    names = set(read_captions(merged, "train").names)
    assert {f"out/{name}" for name in found.names} <= names


def test_photos_whose_captions_fit_least_are_left_out(given: dict[str, Path], tmp_path: Path) -> None:
    recipe = tmp_path / "half.yaml"
    recipe.write_text(RECIPE.replace("kept: 1.0", "kept: 0.5"))
    assert main(["label", *options({**given, "config": recipe, "out": tmp_path / "out"})]) == 0
    assert len(read_captions(tmp_path / "out", "train").names) == 3


def test_likelihoods_are_those_of_transformers(given: dict[str, Path]) -> None:
    """Its loss of one caption is minus the mean log-probability of the tokens, the end among them."""
    checkpoint = load_checkpoint(given["checkpoint"], dtype=torch.float32)
    reference = VisionEncoderDecoderModel.from_pretrained(given["checkpoint"]).eval()
    photo = to_tensor(Image.open(given["data"] / "images" / "red-0.png"), checkpoint.image)[None]
    captions = ["red", "a wall", "look"]
    losses = []
    for caption in captions:
        ids = [*checkpoint.tokenizer.encode(caption), checkpoint.model.config.eos_token_ids[0]]
        with torch.no_grad():
            losses.append(reference(pixel_values=photo, labels=torch.tensor([ids])).loss)
    torch.testing.assert_close(likelihoods(checkpoint, photo, captions), -torch.stack(losses))


def test_folders_of_different_size_teach_the_same() -> None:
    weights = balance(["a/1.jpg", "a/2.jpg", "a/3.jpg", "b/1.jpg", "4.jpg"])
    torch.testing.assert_close(weights, torch.tensor([1 / 3, 1 / 3, 1 / 3, 1.0, 1.0]))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "names.txt cannot be read: "),
        ("\n\n", "names no photo"),
        ("../secret.png\n", "../secret.png is a path that leads out of images"),
        ("nowhere.png\n", "nowhere.png cannot be read"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused(
    content: str | None,
    said: str,
    given: dict[str, Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    photos = tmp_path / "names.txt"
    if content is not None:
        photos.write_text(content)
    assert main(["label", *options({**given, "photos": photos, "out": tmp_path / "out"})]) == 1
    assert said in caplog.messages[-1]
    assert not (tmp_path / "out").exists()


def test_the_recipe_is_valid() -> None:
    assert read_recipe(Path("training/recipes/label.yaml"), LabelRecipe).captions_per_photo == 5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            ("captions_per_photo: 2", "captions_per_photo: 3"),
            "captions_per_photo: at most as many as candidates",
        ),
        (("kept: 1.0", "kept: 0.0"), "kept: a number above 0"),
        (("dropout: 0.0", "dropout: 1.0"), "dropout: a number below 1"),
        (("epochs: 30", "epochs: 0"), "epochs: 0 is not an integer of at least 1"),
        (("rate: 1.0e-2", "rate: 0.0"), "rate: a number above 0"),
        (("seed: 0", "seed: -1"), "seed: -1 is not an integer of at least 0"),
    ],
)
def test_a_recipe_out_of_bounds_is_refused(
    change: tuple[str, str],
    said: str,
    given: dict[str, Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    recipe = tmp_path / "label.yaml"
    recipe.write_text(RECIPE.replace(*change))
    assert main(["label", *options({**given, "config": recipe, "out": tmp_path / "out"})]) == 1
    assert said in caplog.messages[-1]
