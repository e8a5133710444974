"""Text ↔ ids as transformers' own tokenizer does it; the pieces of a caption add up to it."""

import random
from itertools import accumulate, pairwise
from os.path import commonprefix
from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from model.errors import ConfigError
from model.tokenizer import Tokenizer
from tests.model.tokens import END, byte_level_tokenizer

PUBLISHED = Path(__file__).parents[3] / "shared" / "checkpoints" / "vit-gpt2"
SHIPPED = Path(__file__).parents[2] / "checkpoints" / "flickr8k-coco"
SENTENCES = [
    "a dog runs through the snow",
    " a man in a red shirt , jumping",
    "Two children's kites — 30 % off!",
    "un café à côté",
    "犬が走る 🐕‍🦺 🏃🏽",
    "ab\n\tc   d ",
    "�",
    "",
]


@pytest.fixture(scope="module")
def published() -> Tokenizer:
    if not PUBLISHED.is_dir():
        pytest.skip("the published files are not here")
    return Tokenizer.from_folder(PUBLISHED)


@pytest.fixture(scope="module")
def theirs(published: Tokenizer) -> PreTrainedTokenizerBase:
    """What transformers makes of the same files, which it reads for a second."""
    read: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(PUBLISHED)
    return read


@pytest.mark.parametrize("sentence", SENTENCES)
def test_a_published_tokenizer_does_what_transformers_does(
    published: Tokenizer, theirs: PreTrainedTokenizerBase, sentence: str
) -> None:
    ids = theirs.encode(sentence)
    assert published.encode(sentence) == ids
    end = theirs.eos_token_id
    for tokens in (ids, [end, *ids, end], ids[:-1]):
        text = theirs.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert published.decode(tokens) == text
        assert len(published.pieces(tokens)) == len(tokens)
        assert "".join(published.pieces(tokens)) == text


def test_a_published_tokenizer_has_all_its_ids(published: Tokenizer) -> None:
    assert published.vocab_size == 50257


@pytest.mark.parametrize("sentence", SENTENCES)
def test_encoding_and_decoding_gives_the_text_back(sentence: str) -> None:
    tokenizer = byte_level_tokenizer()
    ids = tokenizer.encode(sentence)
    assert tokenizer.decode(ids) == sentence
    assert "".join(tokenizer.pieces(ids)) == sentence


def test_each_piece_is_what_its_token_adds() -> None:
    tokenizer = byte_level_tokenizer()
    (end,) = tokenizer.encode(END)
    ids = [*tokenizer.encode("a dog é"), end]
    assert tokenizer.pieces(ids) == ["a", " dog", " ", "", "é", ""]


def test_a_character_of_four_bytes_comes_with_the_last_of_them() -> None:
    tokenizer = byte_level_tokenizer()
    assert tokenizer.pieces(tokenizer.encode("x🐕y")) == ["x", "", "", "", "🐕", "y"]


def test_a_caption_cut_inside_a_character_still_adds_up() -> None:
    tokenizer = byte_level_tokenizer()
    ids = tokenizer.encode("x🐕y")
    for tokens in (ids[:3], [*ids[:3], *ids[-1:]], [*ids[:2], 0, *ids[2:]], ids[1:3] + ids[2:]):
        assert "".join(tokenizer.pieces(tokens)) == tokenizer.decode(tokens)


def by_prefixes(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    """The definition: every prefix decoded, and what it shares with the whole is settled."""
    text = tokenizer.decode(ids)
    prefixes = [tokenizer.decode(ids[:end]) for end in range(1, len(ids))]
    shared = [len(commonprefix([one, text])) for one in prefixes]  # noqa: RUF071
    settled = list(accumulate([0, *shared, len(text)], max))
    return [text[start:end] for start, end in pairwise(settled)] if ids else []


def word_pieces(tmp_path: Path) -> Tokenizer:
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "a",
        "do",
        "n",
        "'",
        "t",
        "s",
        ".",
        "##og",
        "##s",
        "é",
    ]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces))
    return Tokenizer.from_folder(tmp_path)


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("kind", ["bytes", "words", "shipped"])
def test_pieces_are_those_of_their_definition(kind: str, seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    if kind == "shipped":
        tokenizer = Tokenizer.from_folder(SHIPPED)
    else:
        tokenizer = byte_level_tokenizer() if kind == "bytes" else word_pieces(tmp_path)
    if seed % 2:
        ids = [draw.randrange(tokenizer.vocab_size) for _ in range(draw.randrange(120))]
    else:  # text, and a token now and then that breaks its characters
        text = " ".join(draw.choice(SENTENCES) for _ in range(draw.randrange(12)))
        ids = [one for one in tokenizer.encode(text) if draw.random() < 0.98]
    assert tokenizer.pieces(ids) == by_prefixes(tokenizer, ids)


def test_the_cost_of_pieces_is_that_of_their_number() -> None:
    tokenizer = byte_level_tokenizer()
    decoded: list[int] = []
    decode = tokenizer.decode
    tokenizer.decode = lambda ids: decoded.append(len(ids)) or decode(ids)  # type: ignore[method-assign,func-returns-value]
    ids = tokenizer.encode("two dogs 🐕 run on the snow. " * 100)
    tokenizer.pieces(ids)
    assert sum(decoded) < 100 * len(ids)


def test_no_tokens_no_pieces() -> None:
    assert byte_level_tokenizer().pieces([]) == []


def test_added_tokens_count_too() -> None:
    tokenizer = byte_level_tokenizer()
    before = tokenizer.vocab_size
    tokenizer.backend.add_tokens(["[photo]"])
    assert tokenizer.vocab_size == before + 1 == max(tokenizer.encode("[photo]")) + 1


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError,
        match=r"no tokenizer; known forms are tokenizer\.json; vocab\.json and merges\.txt; vocab\.txt",
    ):
        Tokenizer.from_folder(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"tokenizer\.json cannot be read") as caught:
        Tokenizer.from_folder(tmp_path)
    assert "\n" not in str(caught.value)
