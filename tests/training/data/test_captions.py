import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model.image import ImageConfig
from tests.training.tiny_data import write_data
from training.data.captions import may_be_mirrored, normalise, read_captions
from training.data.folder import load_data
from training.data.vocabulary import END, end_token, learn_vocabulary
from training.errors import DataError


def test_captions_are_read_photo_by_photo(tmp_path: Path) -> None:
    found = read_captions(write_data(tmp_path / "data", [["A dog .", "A cat ."], [], ["A bird ."]]), "dev")
    assert found.ids == (10, 12)  # the photo without captions is left out
    assert found.names == ("0.png", "2.png")
    assert found.captions == (("A dog .", "A cat ."), ("A bird .",))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw.pop("images"), "field images is missing"),
        (lambda raw: raw["images"][1].pop("file_name"), r"images\[1\].file_name is missing"),
        (
            lambda raw: raw["annotations"][2].update(caption=7),
            r"annotations\[2\].caption is missing or no str",
        ),
        (lambda raw: raw["annotations"][2].update(caption=" . "), r"annotations\[2\].caption is empty"),
        (
            lambda raw: raw["annotations"][2].update(caption="a \ud83d dog"),
            r"annotations\[2\].caption is no text: surrogates not allowed at 2",
        ),
        (lambda raw: raw["annotations"][0].update(image_id=99), r"annotations\[0\].image_id is 99"),
        (lambda raw: raw["images"][3].update(file_name="gone.png"), "photo gone.png is not in"),
        (lambda raw: raw.update(annotations=[]), "split 'train' holds no caption"),
    ],
)
def test_errors_name_file_and_field(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    path = write_data(tmp_path / "data") / "captions_train.json"
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))
    with pytest.raises(DataError, match=message) as error:
        read_captions(path.parent, "train")
    assert str(path.parent) in str(error.value)


def test_missing_and_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no captions of split 'train': captions_train\.json"):
        read_captions(tmp_path, "train")
    (tmp_path / "captions_train.json").write_text("{")
    with pytest.raises(DataError, match=r"captions_train\.json cannot be read"):
        read_captions(tmp_path, "train")
    (tmp_path / "captions_train.json").write_text("[" * 100_000)
    with pytest.raises(DataError, match=r"captions_train\.json cannot be read: .*recursion"):
        read_captions(tmp_path, "train")
    with pytest.raises(DataError, match=r"nowhere is not a folder"):
        read_captions(tmp_path / "nowhere", "dev")


def test_a_name_that_no_file_can_have_is_a_missing_photo(tmp_path: Path) -> None:
    folder = write_data(tmp_path / "data")
    (folder / "captions_dev.json").unlink()
    path = folder / "captions_train.json"
    raw = json.loads(path.read_text())
    raw["images"][0]["file_name"] = "\ud83d.png"
    (folder / "captions.json").write_text(json.dumps(raw))
    path.unlink()
    with pytest.raises(DataError, match=r"photo .* is not in"):
        load_data(folder, ImageConfig(), tmp_path / "cache")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("A dog runs .", "a dog runs"),
        ("Two  men , one old .", "two men, one old"),
        ("a person on ski 's", "a person on ski's"),
        ("He does n't jump.", "he doesn't jump"),
    ],
)
def test_normalised_text(written: str, expected: str) -> None:
    assert normalise(written) == expected


def test_photos_with_sides_in_a_caption_are_not_mirrored() -> None:
    assert may_be_mirrored(("A dog .", "The bright leftover ."))
    assert not may_be_mirrored(("A dog .", "A dog looks to its Left ."))
    assert not may_be_mirrored(("the right hand",))
    for word in ("lefts", "leftmost", "left-hand", "righthand", "rightwards", "lefty", "clockwise"):
        assert not may_be_mirrored((f"A dog on the {word} .",)), word
    for word in ("upright", "bright", "copyright", "leftovers", "righteous", "frights"):
        assert may_be_mirrored((f"A dog on the {word} .",)), word


def test_vocabulary_round_trip() -> None:
    tokenizer = learn_vocabulary(["a dog runs", "a dog's ball, two cats"] * 3, 300)
    for text in ("a dog runs", "a dog's ball, two cats", "ünknown wörds 7!"):
        assert tokenizer.decode(tokenizer.encode(text).ids) == " " + text
    assert tokenizer.encode("A Dog").ids == tokenizer.encode("a dog").ids
    assert tokenizer.encode("dog dog").ids == tokenizer.encode("dog").ids * 2  # the same at the start
    assert end_token(tokenizer) == tokenizer.token_to_id(END) == 0
    assert tokenizer.decode([0, *tokenizer.encode("a dog").ids, 0]) == " a dog"
