"""Token ids ↔ text, from the tokenizer files of a checkpoint."""

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, pairwise
from os.path import commonprefix
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from model.errors import ConfigError

WINDOW = 16
"""Tokens that are decoded again at least, to find what the next one adds."""


class Tokenizer:
    """A thin reading of `tokenizers.Tokenizer`: what a captioner needs of it."""

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        self.backend = backend
        # Some tokenizer.json say to pad or cut every text, an empty prompt, too.
        backend.no_padding()
        backend.no_truncation()

    @classmethod
    def from_folder(cls, folder: Path) -> "Tokenizer":
        """Read the tokenizer of a checkpoint folder, in any of the published forms.

        `tokenizer.json`; or GPT-2's `vocab.json` and `merges.txt` (byte-level BPE); or BERT's
        `vocab.txt` (WordPiece, lower case). Raises ConfigError when none is there or it is broken.
        """
        for names, read in READERS.items():
            paths = [folder / name for name in names]
            if all(path.is_file() for path in paths):
                try:
                    return cls(read(*map(str, paths)))
                except Exception as error:  # tokenizers raises bare Exception
                    raise ConfigError(f"{' and '.join(map(str, paths))} cannot be read: {error}") from None
        forms = "; ".join(" and ".join(names) for names in READERS)
        raise ConfigError(f"{folder} holds no tokenizer; known forms are {forms}")

    @property
    def vocab_size(self) -> int:
        """Number of ids, special tokens included."""
        return self.backend.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str) -> list[int]:
        """Text → ids, without the special tokens that a post-processor would add."""
        return self.backend.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        """Ids → text without special tokens."""
        return self.backend.decode(list(ids), skip_special_tokens=True)

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Say what each id adds to the text: the pieces joined are `decode(ids)`.

        A special token adds nothing. Where a character is spread over several byte-level
        tokens, the token that completes it adds it whole.
        """
        # A prefix may differ from the whole near its end: a character that is not complete, a
        # space before an apostrophe. What it shares with the whole is what is settled by then.
        text = self.decode(ids)
        ends = [0, *self._shared_with(text, ids), len(text)]
        settled = list(accumulate(ends, max))
        return [text[start:end] for start, end in pairwise(settled)] if ids else []

    def _shared_with(self, text: str, ids: Sequence[int]) -> Iterator[int]:
        """For each prefix of `ids`, how many characters of its text are those of `text`, the whole's.

        What is settled is not decoded again for each prefix, which would cost the square of their
        number: `known` characters are the text of `ids[:place]`, and decoding starts at `back`, a
        window earlier, since what a token adds may depend on those before it.
        """
        back, place, known, context = 0, 0, 0, ""
        for end in range(1, len(ids)):
            window = self.decode(ids[back:end])
            alike = window.startswith(context)
            new = window[len(context) :] if alike else self.decode(ids[:end])[known:]
            shared = _shared(new, text[known : known + len(new)])
            yield known + shared
            if shared == len(new) and end - place >= WINDOW:
                known += shared
                back, place = place, end
                context = self.decode(ids[back:place])


def _shared(one: str, other: str) -> int:
    return len(commonprefix([one, other]))  # noqa: RUF071  # character by character is meant


def byte_level_bpe(vocabulary: str, merges: str) -> tokenizers.Tokenizer:
    """GPT-2's tokenizer (Radford et al., 2019, section 2.2) from its two files."""
    backend = tokenizers.Tokenizer(models.BPE.from_file(vocabulary, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<|endoftext|>"])
    return backend


def word_piece(vocabulary: str) -> tokenizers.Tokenizer:
    """BERT's uncased tokenizer (Devlin et al., 2019, section 3) from its list of pieces."""
    backend = tokenizers.Tokenizer(models.WordPiece.from_file(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    backend.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    return backend


READERS: dict[tuple[str, ...], Callable[..., tokenizers.Tokenizer]] = {
    ("tokenizer.json",): tokenizers.Tokenizer.from_file,
    ("vocab.json", "merges.txt"): byte_level_bpe,
    ("vocab.txt",): word_piece,
}
"""Files of each published form → how to read them, the first that is complete counts."""
