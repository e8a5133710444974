"""JSON → dataclasses, by their types."""

import binascii
from base64 import b64decode
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import UnionType
from typing import TypeVar, cast, get_args, get_origin, get_type_hints

from captioner_client.errors import UnexpectedReply

Value = TypeVar("Value")

hints_of = cache(get_type_hints)


def decoded(kind: type[Value], value: object, where: str) -> Value:
    """Read a JSON value as a dataclass, a tuple of values, an optional value, bytes (base64) or a scalar.

    Fields that the dataclass does not have are passed over: a newer server may send them. Raises
    UnexpectedReply naming the place of what is missing or of another type.
    """
    return cast(Value, _decoded(kind, value, where))


def _decoded(kind: object, value: object, where: str) -> object:
    if get_origin(kind) is UnionType:
        kind = next(one for one in get_args(kind) if one is not type(None))
    if isinstance(kind, type) and is_dataclass(kind) and isinstance(value, dict):
        return kind(**_fields(kind, value, where))
    if get_origin(kind) is tuple and isinstance(value, list):
        one = get_args(kind)[0]
        return tuple(_decoded(one, part, f"{where}[{index}]") for index, part in enumerate(value))
    if kind is bytes and isinstance(value, str):
        try:
            return b64decode(value, validate=True)
        except binascii.Error:
            raise UnexpectedReply(f"{where} is no base64") from None
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise UnexpectedReply(f"{where} is {type(value).__name__}, not {getattr(kind, '__name__', kind)}")
    return value


def _fields(kind: type, value: dict[str, object], where: str) -> dict[str, object]:
    found: dict[str, object] = {}
    for field in fields(kind):
        place = f"{where}.{field.name}"
        if field.name in value:
            found[field.name] = _decoded(hints_of(kind)[field.name], value[field.name], place)
        elif field.default is MISSING:
            raise UnexpectedReply(f"{place} is missing")
    return found
