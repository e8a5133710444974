"""The words of a caption: where they stand in its text, and which tokens make them.

A word is a run of characters without white space, without the punctuation around it ("grass."
is `grass`) and with what is inside ("dog's", "t-shirt"). A run of nothing but punctuation is no
word. Text that is written without spaces, as Chinese is, is one word from space to space.

A token belongs to each word that it has a character of, which in the tokenizers at hand is one
word at most. A token that adds nothing visible (a space, the first bytes of a character that is
spread over several tokens) belongs with the next token that does; the end token, with none
behind it, belongs to no word.

Words of a prompt are part of the text but were not generated: their range of tokens is empty,
and their log-probability 0, that of something given.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from model.captioner import Caption, Token


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a caption: `caption.text[start:end]` is `text`.

    `tokens` are positions in `caption.tokens`, side by side; `logprob` is the sum of their
    log-probabilities (natural, ≤ 0).
    """

    text: str
    start: int
    end: int
    tokens: range
    logprob: float


def words_of(caption: Caption) -> tuple[Word, ...]:
    """Return the words of a caption in the order of its text; those of a prompt included."""
    spans = list(token_spans(caption.text, caption.tokens))
    words = []
    for start, end in word_spans(caption.text):
        own = [index for index, (first, last) in enumerate(spans) if first < end and start < last]
        tokens = range(own[0], own[-1] + 1) if own else range(0)
        logprob = sum(caption.tokens[index].logprob for index in tokens)
        words.append(Word(caption.text[start:end], start, end, tokens, float(logprob)))
    return tuple(words)


def word_spans(text: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of each word in a text."""
    for run in re.finditer(r"\S+", text):
        inner = [index for index in range(*run.span()) if not is_punctuation(text[index])]
        if inner:
            yield inner[0], inner[-1] + 1


def is_punctuation(character: str) -> bool:
    """Tell Unicode's punctuation; symbols and emoji are none."""
    return unicodedata.category(character).startswith("P")


def token_spans(text: str, tokens: tuple[Token, ...]) -> Iterator[tuple[int, int]]:
    """Yield start and end of what each token adds to `text`, a caption's stripped text.

    The tokens are the end of the text, behind a prompt. A token that adds nothing visible has
    the span of the next one that does; an empty span at the end of the text when there is none.
    """
    generated = "".join(token.text for token in tokens)
    offset = len(text) - len(generated.rstrip())
    ends = list(accumulate((len(token.text) for token in tokens), initial=offset))
    spans = []
    following = (len(text), len(text))
    for token, end in zip(reversed(tokens), reversed(ends[1:]), strict=True):
        if token.text.strip():
            following = (end - len(token.text), end)
        spans.append(following)
    yield from reversed(spans)
