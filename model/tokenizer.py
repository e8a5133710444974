"""Token ids ↔ text, from a checkpoint's `tokenizer.json`."""

from collections.abc import Sequence
from pathlib import Path

import tokenizers

from model.errors import ConfigError


class Tokenizer:
    """A thin reading of `tokenizers.Tokenizer`: what a captioner needs of it."""

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        self.backend = backend

    @classmethod
    def from_folder(cls, folder: Path) -> "Tokenizer":
        """Read `tokenizer.json`; raises ConfigError when it is missing or broken."""
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise ConfigError(f"{path} does not exist")
        try:
            return cls(tokenizers.Tokenizer.from_file(str(path)))
        except Exception as error:  # tokenizers raises bare Exception
            raise ConfigError(f"{path} cannot be read: {error}") from None

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
        pieces, before = [], ""
        for end in range(1, len(ids) + 1):
            text = self.decode(ids[:end])
            unfinished = text.endswith("�") and end < len(ids)
            pieces.append("" if unfinished else text[len(before) :])
            before = before if unfinished else text
        return pieces
