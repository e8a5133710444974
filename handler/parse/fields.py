"""The fields of a request beside the photo: the table of them, and their values from text or JSON.

The names are the same in a JSON body, in multipart fields, in the inputs of gRPC and, with
`X-Caption-` before them, in HTTP headers. Whether a value is allowed is judged later, in
`handler.parse.check`: what is no number in text stays text, which no bound of a number allows.
"""

import re
from collections.abc import Iterable, Mapping
from reprlib import repr as short
from typing import get_args
from urllib.parse import unquote

from handler.errors import RequestError
from handler.photo import Form
from handler.policy import REQUEST_OPTIONS
from model.captioner import MAX_PROMPT
from model.explain.explainer import MAX_CHARACTERS
from model.explain.explanation import MEANINGS
from model.search.option import Kind, Option
from model.search.options import nearest

FIELDS: Mapping[str, Option] = {
    **REQUEST_OPTIONS,
    "prompt": Option(
        Kind.TEXT,
        "What captions begin with, as the tokenizer reads it: in lower case perhaps.",
        most=MAX_PROMPT,
    ),
    "timings": Option(Kind.BOOLEAN, "Tell how long the parts of the work took."),
    "explain": Option(
        Kind.BOOLEAN,
        "Add heatmaps of the caption's words; the default is `true` at the URLs for explanations, "
        "else `false`.",
    ),
    "method": Option(
        Kind.TEXT,
        "With `explain`: how heatmaps are computed; `occlusion` by default.",
        choices=tuple(MEANINGS),
    ),
    "form": Option(
        Kind.TEXT,
        "With `explain`: a PNG a word, one PNG of all words, or numbers; `png` by default.",
        choices=get_args(Form),
    ),
    "caption": Option(
        Kind.TEXT, "With `explain`: explain this caption instead of finding one.", most=MAX_CHARACTERS
    ),
}
"""The engine's options, and what else a request may ask for."""

PATTERNS: Mapping[Kind, re.Pattern[str]] = {
    Kind.INTEGER: re.compile(r"[+-]?[0-9]{1,18}"),
    Kind.NUMBER: re.compile(r"[+-]?([0-9]{1,18}(\.[0-9]{0,18})?|\.[0-9]{1,18})([eE][+-]?[0-9]{1,3})?"),
    Kind.BOOLEAN: re.compile(r"(?i:true|false)"),  # of early_stopping the two that are no text
    Kind.TEXT: re.compile(r"(?!)"),
}
"""What is read as a value of its kind; all else stays text."""

HEADER = "x-caption-"


def value_of(name: str, value: object) -> object:
    """Read the value of a known field that came as text or bytes; one that was JSON stays as it is.

    Raises RequestError for bytes that are no UTF-8.
    """
    if isinstance(value, bytes | bytearray):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            raise RequestError("is no UTF-8 text", name) from None
    if not isinstance(value, str):
        return value
    kind = FIELDS[name].kind
    if not PATTERNS[kind].fullmatch(value.strip()):
        return value
    text = value.strip().lower()
    if kind is Kind.BOOLEAN:
        return text == "true"
    return int(text) if kind is Kind.INTEGER else float(text)


def check_name(name: str, others: Iterable[str] = ()) -> None:
    """Raise RequestError for a name that no field has, with the nearest that one has.

    `others` are names that are known beside the fields where this one was given.
    """
    if name not in FIELDS:
        raise RequestError(f"is not known{nearest(name.lower(), [*FIELDS, *others])}", shortened(name))


def shortened(name: str) -> str:
    """Return a client's own name in a form that fits a message: printable, 30 characters at most."""
    return short(name).strip("'\"")


def from_headers(headers: Mapping[str, object]) -> dict[str, object]:
    """Collect the fields among a request's headers: `X-Caption-Num-Beams: 3` is `num_beams`.

    Values of text fields are percent-encoded UTF-8. TorchServe lists multipart fields here, too,
    as mappings, which are passed over.
    """
    fields: dict[str, object] = {}
    for header, value in headers.items():
        if header.lower().startswith(HEADER) and isinstance(value, str):
            name = header[len(HEADER) :].lower().replace("-", "_")
            check_name(name)
            fields[name] = value_of(name, unquoted(name, value) if FIELDS[name].kind is Kind.TEXT else value)
    return fields


def unquoted(name: str, value: str) -> str:
    """Decode percent-encoded text; raises RequestError where that is no UTF-8."""
    try:
        return unquote(value, errors="strict")
    except UnicodeDecodeError:
        raise RequestError("is no percent-encoded UTF-8", name) from None


def merge(fields: dict[str, object], options: object, where: str) -> None:
    """Add the fields of a JSON object to `fields`; raises RequestError for one given twice."""
    if not isinstance(options, dict):
        raise RequestError("is no JSON object", where)
    for name, value in options.items():
        check_name(name)
        if name in fields:
            raise RequestError(f"is given twice: in {where} and beside it", name)
        fields[name] = value
