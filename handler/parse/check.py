"""The fields given for a photo → what is asked of it, if all of that is allowed on this server."""

from collections.abc import Mapping
from typing import TypeVar, cast

from handler.errors import RequestError
from handler.parse.fields import FIELDS
from handler.photo import ExplanationRequest, PhotoRequest
from handler.policy import Policy
from model.errors import OptionError
from model.search.option import Kind
from model.search.options import SAMPLING

Value = TypeVar("Value")
EXPLANATION = frozenset({"method", "form", "caption"})
"""Fields that say how to explain."""


def photo_request(photo: bytes, fields: Mapping[str, object], where: str, policy: Policy) -> PhotoRequest:
    """Check the fields of one photo, whose names are those of `handler.parse.fields`.

    Raises OptionError naming field, value and bound. A field that could have no effect is an
    error, too: its sender expects one.
    """
    explained = allowed(fields, "explain", False)
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
        prompt=allowed(fields, "prompt", ""),
        timings=allowed(fields, "timings", False),
        explanation=explanation_request(fields) if explained else None,
        where=where,
    )


def explanation_request(fields: Mapping[str, object]) -> ExplanationRequest:
    """Check the fields that say how to explain; raises OptionError."""
    plain = ExplanationRequest()
    caption = allowed(fields, "caption", "") if "caption" in fields else None
    method = allowed(fields, "method", plain.method)
    return ExplanationRequest(method, allowed(fields, "form", plain.form), caption)


def check_count(where: str, count: int, policy: Policy) -> None:
    """Raise RequestError for more photos than a request may hold."""
    if count > policy.max_photos:
        raise RequestError(
            f"holds {count} photos; at most {policy.max_photos} are allowed in a request", where
        )


def whole(name: str, value: object) -> object:
    """Read 3.0 as 3 where an integer is wanted: to JSON Schema they are the same (Validation, 6.1.1)."""
    if FIELDS[name].kind is Kind.INTEGER and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def allowed(fields: Mapping[str, object], name: str, default: Value) -> Value:
    """Return the value of a field, or its default; raises OptionError for one that is not allowed."""
    value = fields.get(name, default)
    FIELDS[name].check(name, value)
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise OptionError(name, "is no valid Unicode: it holds half a surrogate pair") from None
    return cast(Value, value)  # what a field allows has the type of its default


def refuse_without_effect(names: set[str], condition: str) -> None:
    """Raise OptionError for the first of the names, if there is one."""
    for name in sorted(names):
        raise OptionError(name, f"has an effect only where {condition}")
