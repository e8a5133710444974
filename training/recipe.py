"""A recipe: every number of a training run, read from one YAML file into a frozen dataclass."""

from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import TypeVar, get_type_hints

import yaml

from model.errors import CaptionerError
from training.errors import RecipeError

Recipe = TypeVar("Recipe")


def read_recipe(path: Path, kind: type[Recipe]) -> Recipe:
    """Read a YAML mapping into the dataclass `kind`; nested dataclasses are nested mappings.

    Raises RecipeError naming the file and the field for what is unknown, missing or invalid.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise RecipeError(f"recipe {path} cannot be read: {error}") from None
    return _build(raw, kind, str(path))


def _build(raw: object, kind: type[Recipe], where: str) -> Recipe:
    assert is_dataclass(kind)
    if not isinstance(raw, dict):
        raise RecipeError(f"{where}: a mapping is needed, not {type(raw).__name__}")
    known = {field.name: field for field in fields(kind)}
    if unknown := sorted(set(raw) - set(known)):
        raise RecipeError(f"{where}: unknown field {', '.join(unknown)}; known are {', '.join(known)}")
    required = {name for name, field in known.items() if field.default is field.default_factory is MISSING}
    if missing := sorted(required - set(raw)):
        raise RecipeError(f"{where}: field {', '.join(missing)} is missing")
    types = get_type_hints(kind)
    values = {
        name: _build(value, types[name], f"{where}, {name}") if is_dataclass(types[name]) else value
        for name, value in raw.items()
    }
    try:
        return kind(**values)
    except (TypeError, ValueError, CaptionerError) as error:
        raise RecipeError(f"{where}: {error}") from None
