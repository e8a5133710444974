"""A recipe: every number of a training run, read from one YAML file into a frozen dataclass."""

import math
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import TypeVar, get_args, get_origin, get_type_hints

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
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())  # YAML's has several lines
        raise RecipeError(f"recipe {path} cannot be read: {reason}") from None
    return _build(raw, kind, str(path))


def check_integers(recipe: object, least: int, *names: str) -> None:
    """Raise ValueError with the first of these fields that holds no integer of at least `least`."""
    for name in names:
        value = getattr(recipe, name)
        if type(value) is not int or value < least:
            raise ValueError(f"{name}: {value!r} is not an integer of at least {least}")


def check_numbers(recipe: object, most: float, *names: str) -> None:
    """Raise ValueError with the first of these fields that holds no number from 0 to `most`."""
    needed = "a number of at least 0" if most == math.inf else f"a number from 0 to {most:g}"
    for name in names:
        value = getattr(recipe, name)
        if type(value) not in (int, float) or not 0 <= value <= most:
            raise ValueError(f"{name}: {value!r} is not {needed}")


def _build(raw: object, kind: type[Recipe], where: str) -> Recipe:
    assert is_dataclass(kind)
    if not isinstance(raw, dict):
        raise RecipeError(f"{where}: a mapping is needed, not {type(raw).__name__}")
    known = {field.name: field for field in fields(kind)}
    if unknown := sorted(str(name) for name in raw if name not in known):
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
    """Build what a field holds: itself if it is of the field's type, or the dataclass that the type is."""
    options = get_args(kind) if get_origin(kind) is UnionType else (kind,)
    if value is None and NoneType in options:
        return None
    nested = [option for option in options if isinstance(option, type) and is_dataclass(option)]
    if nested:
        return _build(value, nested[0], where)
    if get_origin(kind) is tuple:
        return _tuple(value, get_args(kind), where)
    if float in options and not (type(value) in (int, float) and math.isfinite(value)):  # type: ignore[arg-type]
        hint = " (YAML takes 1e-3 for text: 1.0e-3)" if isinstance(value, str) else ""
        raise RecipeError(f"{where}: {value!r} is not a number{hint}")
    if int in options and type(value) is not int:
        raise RecipeError(f"{where}: {value!r} is not an integer")
    return value


def _tuple(value: object, kinds: tuple[object, ...], where: str) -> tuple[object, ...]:
    """Build a tuple from YAML's list; `kinds` are its elements' types."""
    if not isinstance(value, list):
        raise RecipeError(f"{where}: {value!r} is not a list")
    if kinds[1:] == (...,):  # of any length
        kinds = (kinds[0],) * len(value)
    if len(value) != len(kinds):
        raise RecipeError(f"{where}: {value!r} does not have {len(kinds)} elements")
    return tuple(_value(element, kind, where) for element, kind in zip(value, kinds, strict=True))
