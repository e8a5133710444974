"""The fields given for a photo → what is asked of it, if all of that is allowed on this server."""

from collections.abc import Mapping
from reprlib import repr as short
from typing import TypeVar, get_args

from handler.errors import RequestError
from handler.parse.fields import FIELDS, Kind
from handler.photo import ExplanationRequest, Form, PhotoRequest
from handler.policy import Policy
from model.errors import OptionError
from model.explain.explanation import MEANINGS
from model.options import SAMPLING

Name = TypeVar("Name", bound=str)
EXPLANATION = frozenset({"method", "form", "caption"})
"""Fields that say how to explain."""
FORMS: tuple[Form, ...] = get_args(Form)


def photo_request(photo: bytes, fields: Mapping[str, object], where: str, policy: Policy) -> PhotoRequest:
    """Check the fields of one photo, whose names are those of `handler.parse.fields`.

    Raises OptionError naming field, value and bound. A field that could have no effect is an
    error, too: its sender expects one.
    """
    explained = switch("explain", fields.get("explain", False))
    own = {"prompt", "timings", "explain", *EXPLANATION}
    given = {name: whole(name, value) for name, value in fields.items() if name not in own}
    options = policy.options(given)
    if options.do_sample:
        refuse_without_effect(given.keys() & {"early_stopping"}, "do_sample is false")
    else:
        refuse_without_effect(given.keys() & SAMPLING, "do_sample is true")
    if not explained:
        refuse_without_effect(fields.keys() & EXPLANATION, "explain is true")
    elif "caption" in fields:
        refuse_without_effect(fields.keys() - EXPLANATION - {"timings", "explain"}, "no caption is given")
    return PhotoRequest(
        photo,
        options,
        prompt=text("prompt", fields.get("prompt", "")),
        timings=switch("timings", fields.get("timings", False)),
        explanation=explanation_request(fields) if explained else None,
        where=where,
    )


def explanation_request(fields: Mapping[str, object]) -> ExplanationRequest:
    """Check the fields that say how to explain; raises OptionError."""
    plain = ExplanationRequest()
    caption = text("caption", fields["caption"]) if "caption" in fields else None
    return ExplanationRequest(
        method=choice("method", fields.get("method", plain.method), tuple(MEANINGS)),
        form=choice("form", fields.get("form", plain.form), FORMS),
        caption=caption,
    )


def check_count(where: str, count: int, policy: Policy) -> None:
    """Raise RequestError for more photos than a request may hold."""
    if count > policy.max_photos:
        raise RequestError(
            f"holds {count} photos; at most {policy.max_photos} are allowed in a request", where
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
