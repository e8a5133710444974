"""Tables in the documents are those that `make tables` writes."""

import re
from pathlib import Path

import pytest

from docs.tables import FILES, REGION, TABLES, shipped_fields, with_tables
from handler.parse.fields import FIELDS


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_tables_are_up_to_date(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert REGION.search(text)
    assert with_tables(text, shipped_fields()) == text


def test_every_table_is_somewhere() -> None:
    text = "".join(file.read_text(encoding="utf-8") for file in FILES)
    assert {region["name"] for region in REGION.finditer(text)} == TABLES.keys()
    assert len(re.findall("table: ", text)) == len(re.findall("end of table", text))


def test_every_field_has_a_row() -> None:
    text = "".join(file.read_text(encoding="utf-8") for file in FILES if file.suffix == ".md")
    rows = re.findall(r"^\| `(\w+)` \| (?:an? |one of |true)", text, re.MULTILINE)
    assert sorted(rows) == sorted(FIELDS)


def test_what_is_outside_of_tables_stays() -> None:
    text = "before\n  # table: properties\n  old: row\n  # end of table\nafter\n"
    (first, *_) = FIELDS
    written = with_tables(text, {first: FIELDS[first]})
    assert written == text.replace("old: row", f'{first}: {{$ref: "#/components/schemas/{first}"}}')


def test_limits_of_the_archive_that_ships_are_told() -> None:
    fields = shipped_fields()
    assert (fields["max_new_tokens"].most, FIELDS["max_new_tokens"].most) == (64, None)
    assert fields["num_beams"].most == 16
