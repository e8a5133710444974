"""Tokenizers in the older published forms do what transformers makes of the same files."""

import shutil
from pathlib import Path

import pytest
from transformers import BertTokenizer, GPT2Tokenizer

from model.errors import ConfigError
from model.tokenizer import Tokenizer

PUBLISHED = Path(__file__).parents[3] / "shared" / "checkpoints" / "vit-gpt2"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PIECES = ["a", "picture", "of", "dog", "##s", "run", "##ning", "don", "'", "t", ".", ",", "cafe", "red"]


@pytest.fixture
def word_pieces(tmp_path: Path) -> Path:
    (tmp_path / "vocab.txt").write_text("\n".join(SPECIAL + PIECES) + "\n", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    "sentence",
    ["a picture of", "Dogs running .", "dogs don't run, a café", "zebra", "", "a red dog."],
)
def test_word_pieces(word_pieces: Path, sentence: str) -> None:
    ours = Tokenizer.from_folder(word_pieces)
    theirs = BertTokenizer(vocab=str(word_pieces / "vocab.txt"))
    ids = theirs.encode(sentence, add_special_tokens=False)
    assert ours.encode(sentence) == ids
    tokens = [2, *ids, 3]
    text = theirs.decode(tokens, skip_special_tokens=True)
    assert ours.decode(tokens) == text
    assert "".join(ours.pieces(tokens)) == text
    assert len(ours.pieces(tokens)) == len(tokens)


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tokenizer, GPT2Tokenizer]:
    """What the engine and transformers make of the published pair of files, read once."""
    if not PUBLISHED.is_dir():
        pytest.skip("the published files are not here")
    folder = tmp_path_factory.mktemp("byte-level")
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(PUBLISHED / name, folder)
    theirs = GPT2Tokenizer(vocab=str(PUBLISHED / "vocab.json"), merges=str(PUBLISHED / "merges.txt"))
    return Tokenizer.from_folder(folder), theirs


@pytest.mark.parametrize("sentence", ["a dog runs", " A man's café — 30 %!", "犬 🐕‍🦺", "", "x<|endoftext|>"])
def test_byte_level_pairs(byte_level: tuple[Tokenizer, GPT2Tokenizer], sentence: str) -> None:
    ours, theirs = byte_level
    ids = theirs.encode(sentence)
    assert ours.encode(sentence) == ids
    assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True)
    assert ours.vocab_size == 50257


def test_half_of_a_form_is_none(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigError, match="holds no tokenizer"):
        Tokenizer.from_folder(tmp_path)
