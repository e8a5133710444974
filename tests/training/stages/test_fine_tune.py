import json
import re
from pathlib import Path

import pytest
import tokenizers
import torch
import yaml

from model.captioner import Captioner
from model.checkpoint.folder import load_checkpoint
from tests.tiny import write_tiny_checkpoint
from tests.training.tiny_data import CAPTIONS, RECIPE, options, write_data
from training import __main__ as command
from training.__main__ import main
from training.data.captions import normalise
from training.errors import DataError
from training.recipe import read_recipe
from training.stages import start as beginning
from training.stages.captions import Captions, CaptionsRecipe

RECIPES = Path("training/recipes")


def fine_tune(tmp_path: Path, init: Path, **changes: object) -> int:
    recipe = yaml.safe_load(RECIPE) | {"max_tokens": 16, **changes}
    recipe = {name: value for name, value in recipe.items() if value is not None}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    data = tmp_path / "data"
    data = data if data.exists() else write_data(data)
    given = {"data": data, "config": tmp_path / "recipe.yaml", "init": init, "out": tmp_path / "out"}
    arguments = [part for name, value in given.items() for part in (f"--{name}", str(value))]
    return main(["captions", *arguments, "--cache", str(tmp_path / "cache")])


def test_a_checkpoint_learns_new_captions_with_its_own_tokenizer(tmp_path: Path) -> None:
    init = write_tiny_checkpoint(tmp_path / "init")
    # A published one, whose first token and end are not the same and which pads and cuts by itself.
    (init / "tokenizer.json").unlink()
    backend = tokenizers.ByteLevelBPETokenizer()
    backend.train_from_iterator(
        [normalise(caption) for caption in CAPTIONS] * 10, vocab_size=300, show_progress=False
    )
    backend.add_special_tokens(["<s>", "</s>"])
    backend.enable_padding(length=24)
    backend.enable_truncation(3)
    backend.save(str(init / "tokenizer.json"))
    ids = {"decoder_start_token_id": backend.token_to_id("<s>"), "eos_token_id": backend.token_to_id("</s>")}
    for name in ("config.json", "generation_config.json"):
        path = init / name
        path.write_text(json.dumps(json.loads(path.read_text()) | ids))
    code = fine_tune(
        tmp_path, init, encoder=None, decoder=None, search={"num_beams": 2, "max_new_tokens": 16}
    )
    assert code == 0

    captioner = Captioner.from_folder(tmp_path / "out" / "checkpoint", dtype=torch.float32)
    assert captioner.model.config == load_checkpoint(init).model.config
    photos = [
        captioner.preprocess((tmp_path / "data" / "images" / f"{index}.png").read_bytes())
        for index in range(4)
    ]
    made = [captions[0].text for captions in captioner.caption(photos)]
    assert made == [normalise(caption) for caption in CAPTIONS]


def test_search_options_are_the_checkpoints_where_the_recipe_has_none(tmp_path: Path) -> None:
    init = write_tiny_checkpoint(tmp_path / "init")
    assert fine_tune(tmp_path, init, encoder=None, decoder=None, search=None, epochs=1, report_epochs=1) == 0
    assert load_checkpoint(tmp_path / "out" / "checkpoint").options == load_checkpoint(init).options


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "brings its own encoder and decoder: leave both out of the recipe"),
        ({"encoder": None, "decoder": None, "max_tokens": 17}, "max_tokens: more than the 16 positions"),
    ],
)
def test_a_recipe_that_does_not_fit_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, changes: dict[str, object], message: str
) -> None:
    assert fine_tune(tmp_path, write_tiny_checkpoint(tmp_path / "init"), **changes) == 1
    assert len(caplog.messages) == 1
    assert re.search(message, caplog.messages[0])


def test_pretrained_parts_have_to_fit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from safetensors.torch import save_file

    data = write_data(tmp_path / "data")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    part = tmp_path / "part.safetensors"
    given = {"data": data, "config": tmp_path / "recipe.yaml", "cache": tmp_path / "cache"}
    arguments = ["captions", *options(given)]
    for name, content, message in (
        ("encoder", {"norm.weight": torch.zeros(3)}, r"norm.weight is \(3,\) instead of \(32,\)"),
        ("decoder", {"norm.weight": torch.zeros(3)}, "norm.weight is unknown"),
    ):
        save_file(content, part)
        assert main([*arguments, "--out", str(tmp_path / name), f"--{name}", str(part)]) == 1
        assert re.search(f"^{name} .* is another network's: .*{message}", caplog.messages[-1]) or (
            name == "encoder" and "is missing" in caplog.messages[-1]
        )
    part.write_bytes(b"none")
    assert main([*arguments, "--decoder", str(part)]) == 1
    assert "cannot be read" in caplog.messages[-1]


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in sorted(RECIPES.glob("*.yaml"))
        if "label_smoothing" in path.read_text() and "captions_per_photo" in path.read_text()
    ],
)
def test_recipes_of_caption_training_are_valid(path: Path) -> None:
    recipe = read_recipe(path, CaptionsRecipe)
    assert (recipe.encoder is None) == (path.stem in {"fine-tune", "from-encoder", "hybrid-more"})


@pytest.mark.parametrize(
    ("arguments", "few", "shipped"),
    [
        ([], 5, True),
        ([], 4, False),  # four photos are not fewer than four
        (["--config", "training/recipes/small.yaml"], 5, False),
        (["--init", "mine"], 5, False),
        (["--encoder", "mine.safetensors"], 5, False),
    ],
)
def test_few_photos_start_from_the_weights_that_ship(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], few: int, shipped: bool
) -> None:
    started: list[beginning.Start] = []

    def prepare(data: Path, recipe: CaptionsRecipe, start: beginning.Start, **_: object) -> Captions:
        started.append(start)
        raise DataError("enough")

    monkeypatch.setattr(command, "prepare_captions", prepare)
    monkeypatch.setattr(beginning, "SHIPPED", tmp_path)
    monkeypatch.setattr(beginning, "FEW", few)
    assert main(["captions", "--data", str(write_data(tmp_path / "data")), *arguments]) == 1
    assert (started[0].init == tmp_path) is shipped
