"""What is read of a model card, well-formed or not."""

from pathlib import Path

import pytest

from archive.card import Card


def read(folder: Path, text: str) -> Card:
    (folder / "README.md").write_text(text, encoding="utf-8")
    return Card.of_folder(folder)


@pytest.mark.parametrize(
    ("matter", "licence"),
    [
        ("license: mit", "mit"),
        ("license: other\nlicense_name: mine", "mine"),
        ("license: other", "not stated"),
        ("license_name: mine", "not stated"),
        ("license:", "not stated"),
        ("tags: [x]", "not stated"),
        ("- license: mit", "not stated"),
        ("license: [", "not stated"),
    ],
)
def test_the_licence_is_that_of_the_front_matter(tmp_path: Path, matter: str, licence: str) -> None:
    assert read(tmp_path, f"---\n{matter}\n---\n# Title\n").licence == licence


def test_no_card_says_nothing(tmp_path: Path) -> None:
    assert Card.of_folder(tmp_path) == Card()
    assert read(tmp_path, "") == Card()
    (tmp_path / "README.md").write_bytes(b"\xff\xfe\x00")
    assert Card.of_folder(tmp_path) == Card()


def test_rules_in_the_text_are_no_front_matter(tmp_path: Path) -> None:
    card = read(tmp_path, "# Title\n---\nlicense: mit\n---\n## License\nSee below.\n")
    assert (card.name, card.licence, card.limits) == ("Title", "not stated", "See below.")


def test_sections_end_at_headings_of_their_level(tmp_path: Path) -> None:
    card = read(tmp_path, "# Net\n# License\na\n## Part\nb\n# Training data\nc\n~~~\n# d\n~~~\n## Recipe\n")
    assert card == Card("Net", {}, "a\n## Part\nb", "c\n~~~\n# d\n~~~\n## Recipe", None)
