"""The card of a run: terms are inherited, whatever it started from and however often."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.torch import save_file
from torch import zeros

from archive.card import Card
from archive.origin import Origin
from tests.tiny import write_tiny_checkpoint
from tests.training.stages.test_scst import RECIPE as SCST_RECIPE
from tests.training.tiny_data import RECIPE, options, write_data
from training.__main__ import main
from training.data.captions import CaptionSet
from training.data.folder import Data
from training.model_card import Ancestor, inherited, model_card
from training.recipe import read_recipe
from training.stages.captions import CaptionsRecipe

NOTE = "For **non-commercial** research.\n\n### Why\n\n```\n## no heading\n```"
MATTER = "---\nlicense: other\nlicense_name: research-only\n---\n"
CARD = f"{MATTER}# Base\n\n## Licence limits\n\n{NOTE}\n\n## Data\nX\n"
QUOTED = "\n".join(f"> {line}".rstrip() for line in NOTE.splitlines())
NO_PHOTOS = np.zeros((0, 8, 8, 3), np.uint8)


def write_recipe(path: Path, text: str, **changes: object) -> Path:
    recipe = yaml.safe_load(text) | {"max_tokens": 16, "epochs": 1, "report_epochs": 1, **changes}
    kept = {name: value for name, value in recipe.items() if value is not None}
    path.write_text(yaml.safe_dump(kept))
    return path


def part(folder: Path, role: str, matter: str) -> Ancestor:
    folder.mkdir()
    save_file({"x": zeros(1)}, folder / "weights.safetensors")
    (folder / "README.md").write_text(f"---\n{matter}\n---\n# {role}'s\n")
    return Ancestor.of(role, folder / "weights.safetensors", folder / "weights.safetensors")


def test_terms_go_from_a_checkpoint_through_training_and_rewards_into_the_archive(tmp_path: Path) -> None:
    base = write_tiny_checkpoint(tmp_path / "base")
    (base / "README.md").write_text(CARD)
    data = write_data(tmp_path / "data")
    (data / "captions_dev.json").unlink()  # scores start a Java program each time
    recipe = write_recipe(tmp_path / "recipe.yaml", RECIPE, encoder=None, decoder=None, search=None)
    given = {
        "data": data,
        "config": recipe,
        "init": base,
        "out": tmp_path / "tuned",
        "cache": tmp_path / "cache",
    }
    assert main(["captions", *options(given)]) == 0
    write_recipe(tmp_path / "scst.yaml", SCST_RECIPE)
    given |= {
        "config": tmp_path / "scst.yaml",
        "init": tmp_path / "tuned" / "checkpoint",
        "out": tmp_path / "rewarded",
    }
    assert main(["scst", *options(given)]) == 0
    for name, run, marks in (("base", "tuned", ""), ("tuned", "rewarded", "> ")):
        folder = tmp_path / run / "checkpoint"
        card = Card.of_folder(folder)
        assert card.name == run
        assert card.terms == {"license": "other", "license_name": "research-only"}
        assert card.limits is not None
        quoted = "\n".join(f"{marks}{line}".rstrip() for line in QUOTED.splitlines())
        assert quoted in card.limits
        assert f"checkpoint `{'Base' if name == 'base' else name}`: licence research-only" in card.limits
        notes = Origin.of_folder(folder).notes(folder / "model.safetensors")
        assert notes["license"] == "research-only"
        provenance = notes["provenance"]
        assert isinstance(provenance, dict)
        assert provenance["data"].startswith("4 photos with 4 captions (`")
        assert "SHA-256 `" in provenance["recipe"]
        assert "seed: 3" in provenance["recipe"]


@pytest.mark.parametrize(
    ("matters", "terms"),
    [
        ([], {}),
        (["tags: []"], {}),
        (["license: mit"], {"license": "mit"}),
        (["license: mit", "license: mit"], {"license": "mit"}),
        (["license: mit", "tags: []"], {"license": "mit"}),
        (["license: mit", "license: cc-by-4.0"], {"license": "other", "license_name": "mit-and-cc-by-4.0"}),
        (["license: other", "license: mit"], {"license": "other", "license_name": "other-and-mit"}),
        (["license: other", "license: other"], {"license": "other"}),
    ],
)
def test_parts_of_different_terms_have_all_of_them(
    tmp_path: Path, matters: list[str], terms: dict[str, str]
) -> None:
    roles = ("encoder", "decoder")
    parts = [part(tmp_path / role, role, matter) for role, matter in zip(roles, matters, strict=False)]
    assert inherited(parts) == terms


def test_a_card_names_all_that_the_run_started_from(tmp_path: Path) -> None:
    parts = [
        part(tmp_path / "one", "encoder", "license: mit\nlicense_link: LICENSE"),
        part(tmp_path / "two", "stem", ""),
    ]
    captions = CaptionSet(tmp_path, (1, 2), ("a", "b"), (("x",), ("y", "z")))
    data = Data((captions, NO_PHOTOS), (captions, NO_PHOTOS))
    recipe = read_recipe(write_recipe(tmp_path / "recipe.yaml", RECIPE), CaptionsRecipe)
    text = model_card("mine", parts, tmp_path / "photos", data, recipe)
    (tmp_path / "README.md").write_text(text)
    card = Card.of_folder(tmp_path)
    assert card.limits is not None
    assert "encoder `weights.safetensors`: licence mit (`LICENSE`)" in card.limits
    assert "stem `weights.safetensors`: licence not stated" in card.limits
    assert card.data == (
        f"2 photos with 3 captions (`{captions.digest()}`) of `photos`. "
        f"2 photos with 3 captions (`{captions.digest()}`) chose among the weights of the run."
    )
    assert card.recipe is not None
    (tmp_path / "again.yaml").write_text(card.recipe.split("```")[1].removeprefix("yaml\n"))
    assert read_recipe(tmp_path / "again.yaml", CaptionsRecipe) == recipe
    assert text == model_card("mine", parts, tmp_path / "photos", data, recipe)


def test_nothing_to_start_from_has_no_terms(tmp_path: Path) -> None:
    captions = CaptionSet(tmp_path, (1,), ("a",), (("x",),))
    recipe = read_recipe(write_recipe(tmp_path / "recipe.yaml", RECIPE), CaptionsRecipe)
    (tmp_path / "README.md").write_text(
        model_card("mine", [], tmp_path, Data((captions, NO_PHOTOS), None), recipe)
    )
    card = Card.of_folder(tmp_path)
    assert (card.terms, card.licence) == ({}, "not stated")
    assert card.recipe is not None
    assert card.recipe.startswith("Started from nothing.")
