"""Words of captions: spans, tokens and log-probabilities, worked out by hand."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer as Backend

from model.captioner import Caption, Token
from model.tokenizer import Tokenizer, word_piece
from model.words import words_of
from tests.model.tokens import END, byte_level_tokenizer


def caption(*pieces: str, prompt: str = "") -> Caption:
    """A caption of these pieces, the first with log-probability -1, the second -2, and so on."""
    tokens = tuple(Token(piece, -float(number), number) for number, piece in enumerate(pieces, start=1))
    return Caption((prompt + "".join(pieces)).strip(), -1.0, tokens)


def from_ids(tokenizer: Tokenizer, ids: list[int]) -> Caption:
    return caption(*tokenizer.pieces(ids))


def facts(found: Caption) -> list[tuple[str, list[int], float]]:
    words = words_of(found)
    for word in words:
        assert found.text[word.start : word.end] == word.text
        assert word.logprob == sum(found.tokens[index].logprob for index in word.tokens)
    return [(word.text, list(word.tokens), word.logprob) for word in words]


def test_each_token_may_be_a_word() -> None:
    found = caption(" a", " dog", " runs", "")
    assert facts(found) == [("a", [0], -1), ("dog", [1], -2), ("runs", [2], -3)]
    assert [(word.start, word.end) for word in words_of(found)] == [(0, 1), (2, 5), (6, 10)]


def test_parts_of_words_are_merged() -> None:
    found = caption("a", " skate", "board", "er", " k", "ite", "")
    assert facts(found) == [("a", [0], -1), ("skateboarder", [1, 2, 3], -9), ("kite", [4, 5], -11)]


def test_punctuation_inside_a_word_stays_and_around_it_goes() -> None:
    found = caption(" a", " dog", "'s", ' "', "t", "-", "shirt", '"', ",", " -", " wet", ".", "")
    assert facts(found) == [
        ("a", [0], -1),
        ("dog's", [1, 2], -5),
        ("t-shirt", [4, 5, 6], -18),
        ("wet", [10], -11),
    ]


def test_punctuation_in_one_token_with_letters_is_not_part_of_the_word_but_its_token_is() -> None:
    assert facts(caption("(a", " dog.", "")) == [("a", [0], -1), ("dog", [1], -2)]


def test_a_token_of_two_words_belongs_to_both() -> None:
    assert facts(caption("out of", " it")) == [("out", [0], -1), ("of", [0], -1), ("it", [1], -2)]


@pytest.mark.parametrize("blank", [" ", "  ", "\n"])
def test_blank_tokens_belong_to_what_follows(blank: str) -> None:
    found = caption(blank, "a", blank, "dog", blank, "")
    assert facts(found) == [("a", [0, 1], -3), ("dog", [2, 3], -7)]


def test_bytes_of_a_character_belong_to_its_word() -> None:
    tokenizer = byte_level_tokenizer()
    (end,) = tokenizer.encode(END)
    found = from_ids(tokenizer, [*tokenizer.encode(" dog é🐕 x"), end])
    # ` dog`, ` `, two bytes of é, four of the emoji, ` `, `x`, the end
    assert [(word, tokens) for word, tokens, _ in facts(found)] == [
        ("dog", [0]),
        ("é🐕", [1, 2, 3, 4, 5, 6, 7]),
        ("x", [8, 9]),
    ]


def test_a_caption_cut_inside_a_character_keeps_its_words() -> None:
    tokenizer = byte_level_tokenizer()
    found = from_ids(tokenizer, tokenizer.encode("dog 🐕")[:-1])
    assert [word for word, _, _ in facts(found)] == found.text.split()


def test_words_of_a_prompt_have_no_tokens() -> None:
    found = caption(" dog", " runs", "", prompt=" a big")
    assert facts(found) == [("a", [], 0), ("big", [], 0), ("dog", [0], -1), ("runs", [1], -2)]
    assert [(word.start, word.end) for word in words_of(found)] == [(0, 1), (2, 5), (6, 9), (10, 14)]


def test_a_word_that_begins_in_the_prompt_has_the_tokens_that_end_it() -> None:
    found = caption("board", "s", " roll", "", prompt="two skate")
    assert facts(found) == [("two", [], 0), ("skateboards", [0, 1], -3), ("roll", [2], -3)]


@pytest.mark.parametrize("rest", [(), ("",), (" ", "")])
def test_a_prompt_that_nothing_was_added_to(rest: tuple[str, ...]) -> None:
    assert facts(caption(*rest, prompt=" a dog")) == [("a", [], 0), ("dog", [], 0)]


@pytest.mark.parametrize("pieces", [(), ("",), (" ", ""), (" .", ",", ""), ("—",)])
def test_captions_without_words(pieces: tuple[str, ...]) -> None:
    assert words_of(caption(*pieces)) == ()


def test_text_without_spaces_is_one_word() -> None:
    assert facts(caption("犬", "が", "走る", "。")) == [("犬が走る", [0, 1, 2], -6)]


def test_pieces_of_bert_are_merged(tmp_path: Path) -> None:
    vocabulary = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "a",
        "skate",
        "##board",
        "##er",
        ",",
        "t",
        "-",
    ]
    (tmp_path / "vocab.txt").write_text("\n".join([*vocabulary, "shirt"]) + "\n", encoding="utf-8")
    backend: Backend = word_piece(str(tmp_path / "vocab.txt"))
    tokenizer = Tokenizer(backend)
    found = from_ids(tokenizer, [*tokenizer.encode("a skateboarder, a t-shirt"), 3])
    assert found.text == "a skateboarder, a t - shirt"  # BERT's decoder joins words with spaces
    assert facts(found) == [
        ("a", [0], -1),
        ("skateboarder", [1, 2, 3], -9),
        ("a", [5], -6),
        ("t", [6], -7),
        ("shirt", [8], -9),
    ]
