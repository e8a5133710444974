"""A recipe: every number of a training run, read from one YAML file into a frozen dataclass."""

from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import NoneType
from typing import TypeVar, get_args, get_type_hints

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
    values = {name: _value(value, types[name], f"{where}, {name}") for name, value in raw.items()}
    try:
        return kind(**values)
    except (TypeError, ValueError, CaptionerError) as error:
        raise RecipeError(f"{where}: {error}") from None


def _value(value: object, kind: object, where: str) -> object:
    """Build what a field holds: itself, or the dataclass that its type is, perhaps beside None."""
    options = get_args(kind) or (kind,)
    if value is None and NoneType in options:
        return None
    nested = [option for option in options if isinstance(option, type) and is_dataclass(option)]
    return _build(value, nested[0], where) if nested else value
