"""The fields of a request, written into the documents and the OpenAPI document.

`make tables` writes them anew between the lines that mark them, `table: NAME` and `end of table`. All
of it is made from `handler.parse.fields.FIELDS`, with the limits of `archive/model-config.yaml`.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import yaml

from handler.parse.check import EXPLANATION
from handler.parse.fields import FIELDS
from handler.settings import Settings
from model.search.option import Kind, Option

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "archive" / "model-config.yaml"
FILES = (
    ROOT / "docs" / "options.md",
    ROOT / "docs" / "explanations.md",
    ROOT / "handler" / "openapi.yaml",
)
REGION = re.compile(
    r"^(?P<begin>(?P<indent> *)(?:#|<!--) table: (?P<name>[a-z ]+?)(?: -->)?\n)"
    r".*?"
    r"^(?P<end> *(?:#|<!--) end of table(?: -->)?\n)",
    re.MULTILINE | re.DOTALL,
)
Fields = Mapping[str, Option]


def shipped_fields() -> Fields:
    """Return the fields of a request, with the bounds of a server that runs the archive that ships."""
    limits = Settings.from_yaml(yaml.safe_load(CONFIG.read_text(encoding="utf-8"))).limits
    return {
        name: replace(option, most=min(limits[name], option.most or limits[name]))
        if name in limits
        else option
        for name, option in FIELDS.items()
    }


def with_tables(text: str, fields: Fields) -> str:
    """Return a file's text with its tables written anew; raises KeyError for one that does not exist."""

    def written(region: re.Match[str]) -> str:
        lines = TABLES[region["name"]](fields)
        return region["begin"] + "".join(f"{region['indent']}{line}\n" for line in lines) + region["end"]

    return REGION.sub(written, text)


def markdown(fields: Fields) -> list[str]:
    """Write a row a field: its name, what is allowed, what it means."""
    rows = [f"| `{name}` | {allowed(option)} | {option.meaning} |" for name, option in fields.items()]
    return ["| option | allowed | meaning |", "|---|---|---|", *rows]


def allowed(option: Option) -> str:
    """Say what a value has to be, in the words of the error for one that is not."""
    if option.kind is Kind.TEXT and option.most is not None:
        return f"{option.allowed} of at most {option.most} characters"
    return option.allowed


def schemas(fields: Fields) -> list[str]:
    """Write the JSON schema of each field."""
    lines = []
    for name, option in fields.items():
        lines += [f"{name}:", f"  description: {json.dumps(option.meaning, ensure_ascii=False)}"]
        lines += [f"  {line}" for line in schema(option)]
    return lines


def schema(option: Option) -> list[str]:
    """Write what JSON Schema says of the values of a field."""
    if option.kind is Kind.BOOLEAN and option.choices:
        others = "".join(f", {{const: {json.dumps(choice)}}}" for choice in option.choices)
        return [f"oneOf: [{{type: boolean}}{others}]"]
    lines = [f"type: {option.kind.value}"]
    if option.choices:
        lines.append(f"enum: [{', '.join(option.choices)}]")
    if option.kind in (Kind.INTEGER, Kind.NUMBER):
        lines.append(f"minimum: {option.least}")
    if option.most is not None:
        lines.append(f"{'maxLength' if option.kind is Kind.TEXT else 'maximum'}: {option.most}")
    return lines


def headers(fields: Fields) -> list[str]:
    """Write the header of each field, as a parameter."""
    return [
        f"{name}: {{name: X-Caption-{name.replace('_', '-').title()}, in: header, "
        f'schema: {{$ref: "#/components/schemas/{name}"}}}}'
        for name in fields
    ]


def parameters(fields: Fields) -> list[str]:
    """Write the list of all headers that a path takes."""
    return [f'- {{$ref: "#/components/parameters/{name}"}}' for name in fields]


def properties(fields: Fields) -> list[str]:
    """Write the fields as properties of an object."""
    return [f'{name}: {{$ref: "#/components/schemas/{name}"}}' for name in fields]


TABLES: Mapping[str, Callable[[Fields], list[str]]] = {
    "options": lambda fields: markdown(
        {name: option for name, option in fields.items() if name not in EXPLANATION}
    ),
    "explanations": lambda fields: markdown(
        {name: option for name, option in fields.items() if name in EXPLANATION}
    ),
    "schemas": schemas,
    "headers": headers,
    "parameters": parameters,
    "properties": properties,
}
"""The tables by the names that mark them."""


if __name__ == "__main__":
    for file in FILES:
        file.write_text(with_tables(file.read_text(encoding="utf-8"), shipped_fields()), encoding="utf-8")
