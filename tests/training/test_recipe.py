import math
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest

from training.errors import RecipeError
from training.recipe import read_recipe
from training.stages.captions import CaptionsRecipe
from training.stages.pretrain import PretrainRecipe
from training.stages.scst import ScstRecipe
from training.stages.text import TextRecipe

RECIPES = Path("training/recipes")


@dataclass(frozen=True)
class Inner:
    width: int
    weight: float = 1.0


@dataclass(frozen=True)
class Outer:
    rate: float
    steps: int | None = None
    inner: Inner | None = None
    span: tuple[float, float] = (0.0, 1.0)


def read(tmp_path: Path, text: str | bytes) -> Outer:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_recipe(path, Outer)


def test_values_are_those_of_the_file(tmp_path: Path) -> None:
    assert read(tmp_path, "rate: 1.0e-3") == Outer(0.001)
    text = "{rate: 2, steps: 3, inner: {width: 4}, span: [0.5, 2]}"
    assert read(tmp_path, text) == Outer(2, 3, Inner(4), (0.5, 2))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rate: 1e-3", r"recipe.yaml, rate: '1e-3' is not a number \(YAML takes 1e-3 for text: 1.0e-3\)"),
        ("rate: .nan", "recipe.yaml, rate: nan is not a number"),
        ("rate: .inf", "recipe.yaml, rate: inf is not a number"),
        ("rate: true", "recipe.yaml, rate: True is not a number"),
        ("{rate: 1, steps: 1.5}", "recipe.yaml, steps: 1.5 is not an integer"),
        ("{rate: 1, steps: true}", "recipe.yaml, steps: True is not an integer"),
        ("{rate: 1, inner: {width: 8.5}}", "recipe.yaml, inner, width: 8.5 is not an integer"),
        ("{rate: 1, inner: 3}", "recipe.yaml, inner: a mapping is needed, not int"),
        ("{rate: 1, 7: 1, z: 2}", "recipe.yaml: unknown field 7, z; known are rate, steps, inner"),
        ("{}", "recipe.yaml: field rate is missing"),
        ("- rate", "recipe.yaml: a mapping is needed, not list"),
        ("rate: [1", "recipe.yaml cannot be read: while parsing"),
        (b"\xff\xd8\xff\xe0", "recipe.yaml cannot be read: 'utf-8' codec can't decode"),
    ],
)
def test_what_is_wrong_is_one_line_that_names_the_field(
    tmp_path: Path, text: str | bytes, message: str
) -> None:
    with pytest.raises(RecipeError, match=message) as error:
        read(tmp_path, text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("small", CaptionsRecipe),
        ("text-small", TextRecipe),
        ("scst-small", ScstRecipe),
        ("pretrain-small", PretrainRecipe),
    ],
)
def test_a_seed_that_numpy_would_refuse_is_refused_first(tmp_path: Path, name: str, kind: type) -> None:
    text = (RECIPES / f"{name}.yaml").read_text()
    (tmp_path / "recipe.yaml").write_text(text)
    read_recipe(tmp_path / "recipe.yaml", kind)
    (tmp_path / "recipe.yaml").write_text(text.replace("seed: 0", "seed: -1"))
    with pytest.raises(RecipeError, match=r"recipe\.yaml: seed: .*at least 0"):
        read_recipe(tmp_path / "recipe.yaml", kind)


NUMBERS = {"int", "float", "int | None"}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("small", CaptionsRecipe),
        ("hybrid", CaptionsRecipe),
        ("text-small", TextRecipe),
        ("scst-hybrid", ScstRecipe),
        ("pretrain-small", PretrainRecipe),
    ],
)
def test_every_number_of_a_recipe_is_checked(name: str, kind: type) -> None:
    """A recipe made in Python, too, where no file was read that could refuse the type."""
    recipe: Any = read_recipe(RECIPES / f"{name}.yaml", kind)
    hints = {field.name: str(getattr(field.type, "__name__", field.type)) for field in fields(recipe)}
    numbers = [name for name, hint in hints.items() if hint in NUMBERS]
    assert len(numbers) > 4
    for number in numbers:
        for wrong in (-1, True, "1", math.nan):
            with pytest.raises(ValueError, match=rf"^{number}: {wrong!r} is not an? (integer|number) "):
                replace(recipe, **{number: wrong})


@pytest.mark.parametrize(
    ("line", "changed", "message"),
    [
        ("warmup_steps: 100", "warmup_steps: 3600", "warmup_steps: fewer than the 3600 steps are needed"),
        ("kept_patches: 20", "kept_patches: 50", "kept_patches: more than the 49 patches that there are"),
        ("cutmix: 0.5", "cutmix: 1.5", "cutmix: 1.5 is not a number from 0 to 1"),
        ("grid_weight: 1.0", "grid_weight: -0.5", "grid_weight: -0.5 is not a number of at least 0"),
    ],
)
def test_a_wrong_number_of_pretraining_is_named(
    tmp_path: Path, line: str, changed: str, message: str
) -> None:
    text = (RECIPES / "pretrain-small.yaml").read_text()
    assert line in text
    (tmp_path / "recipe.yaml").write_text(text.replace(line, changed))
    with pytest.raises(RecipeError, match=message):
        read_recipe(tmp_path / "recipe.yaml", PretrainRecipe)


@pytest.mark.parametrize(
    ("line", "changed", "message"),
    [
        ("contrast: [0.7, 1.3]", "contrast: 0.7", "contrast: 0.7 is not a list"),
        ("contrast: [0.7, 1.3]", "contrast: [0.7]", r"contrast: \[0.7\] does not have 2 elements"),
        ("contrast: [0.7, 1.3]", "contrast: [0.7, high]", "contrast: 'high' is not a number"),
    ],
)
def test_a_list_has_as_many_numbers_as_are_needed(
    tmp_path: Path, line: str, changed: str, message: str
) -> None:
    text = (RECIPES / "pretrain-small.yaml").read_text()
    assert line in text
    (tmp_path / "recipe.yaml").write_text(text)
    assert read_recipe(tmp_path / "recipe.yaml", PretrainRecipe).recolouring.contrast == (0.7, 1.3)
    (tmp_path / "recipe.yaml").write_text(text.replace(line, changed))
    with pytest.raises(RecipeError, match=message):
        read_recipe(tmp_path / "recipe.yaml", PretrainRecipe)
