"""The fields given for a photo → what is wanted of it, within the bounds of this server."""

from collections.abc import Mapping
from dataclasses import dataclass
from reprlib import repr as short
from typing import Literal, TypeVar, get_args

from handler.fields import FIELDS, Kind
from handler.settings import Settings
from model.errors import OptionError
from model.explain.explanation import MEANINGS, Method
from model.options import SAMPLING, GenerationOptions

Picture = Literal["png", "grid", "values"]
Name = TypeVar("Name", bound=str)
EXPLANATION = frozenset({"method", "form", "caption"})
"""Fields that say how to explain."""
FORMS: tuple[Picture, ...] = get_args(Picture)


@dataclass(frozen=True, slots=True)
class ExplanationWish:
    """How a caption is to be explained: the one given, else the best that is found."""

    method: Method = "occlusion"
    form: Picture = "png"
    caption: str | None = None


@dataclass(frozen=True, slots=True)
class Wish:
    """What one photo is to be answered with."""

    options: GenerationOptions
    prompt: str = ""
    timings: bool = False
    explanation: ExplanationWish | None = None


def read_wish(fields: Mapping[str, object], defaults: GenerationOptions, settings: Settings) -> Wish:
    """Judge the fields of one photo, whose names are those of `handler.fields`.

    Raises OptionError naming field, value and bound. A field that could have no effect is an
    error, too: its sender expects one.
    """
    explained = switch("explain", fields.get("explain", False))
    own = {"prompt", "timings", "explain", *EXPLANATION}
    given = {name: whole(name, value) for name, value in fields.items() if name not in own}
    options = defaults.replace(**given)
    settings.check_limits(options)
    if options.do_sample:
        refuse_without_effect(given.keys() & {"early_stopping"}, "do_sample is false")
    else:
        refuse_without_effect(given.keys() & SAMPLING, "do_sample is true")
    if not explained:
        refuse_without_effect(fields.keys() & EXPLANATION, "explain is true")
    elif "caption" in fields:
        refuse_without_effect(fields.keys() - EXPLANATION - {"timings", "explain"}, "no caption is given")
    return Wish(
        options=options,
        prompt=text("prompt", fields.get("prompt", "")),
        timings=switch("timings", fields.get("timings", False)),
        explanation=read_explanation(fields) if explained else None,
    )


def read_explanation(fields: Mapping[str, object]) -> ExplanationWish:
    """Judge the fields that say how to explain."""
    plain = ExplanationWish()
    caption = text("caption", fields["caption"]) if "caption" in fields else None
    return ExplanationWish(
        method=choice("method", fields.get("method", plain.method), tuple(MEANINGS)),
        form=choice("form", fields.get("form", plain.form), FORMS),
        caption=caption,
    )


def whole(name: str, value: object) -> object:
    """Read 3.0 as 3 where an integer is wanted: to JSON Schema they are the same (Validation, 6.1.1)."""
    if FIELDS.get(name) is Kind.INTEGER and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def refuse_without_effect(names: set[str], condition: str) -> None:
    """Raise OptionError for the first of the names, if there is one."""
    for name in sorted(names):
        raise OptionError(name, f"has an effect only where {condition}")


def switch(name: str, value: object) -> bool:
    """Check that a value is true or false."""
    if not isinstance(value, bool):
        raise OptionError(name, f"{short(value)} is not true or false")
    return value


def text(name: str, value: object) -> str:
    """Check that a value is text that UTF-8 can write."""
    if not isinstance(value, str):
        raise OptionError(name, f"{short(value)} is not a string")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise OptionError(name, "is no valid Unicode: it holds half a surrogate pair") from None
    return value


def choice(name: str, value: object, allowed: tuple[Name, ...]) -> Name:
    """Check that a value is one of a few."""
    for one in allowed:
        if value == one:
            return one
    raise OptionError(name, f"{short(value)} is not one of {', '.join(allowed)}")
