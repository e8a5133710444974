"""Where the key comes from that the server wants with every call."""

import json
from collections.abc import Callable
from os import PathLike
from pathlib import Path

from captioner_client.errors import KeyUnreadable

Key = str | PathLike[str] | Callable[[], str] | None
"""The key itself, the path of TorchServe's key file, or what returns a key. None: the server wants none."""


class KeySource:
    """A key that is read when it is first needed, and again after it was refused.

    Threads may share it: at worst, two of them read the same key.
    """

    def __init__(self, key: Key) -> None:
        self._source = key
        self._known: str | None = None

    @property
    def fixed(self) -> bool:
        """Whether reading again gives the same."""
        return self._source is None or isinstance(self._source, str)

    def current(self) -> str:
        """Return the key, "" where none is wanted; raises KeyUnreadable where there is none to be read."""
        if self._known is None:
            self._known = self._read().strip()  # of a file, perhaps, with a newline
        return self._known

    def forget(self, refused: str) -> None:
        """Have the key read again, unless it is another by now than the one that was refused."""
        if self._known == refused:
            self._known = None

    def _read(self) -> str:
        if self._source is None or isinstance(self._source, str):
            return self._source or ""
        if isinstance(self._source, PathLike):
            return _from_file(Path(self._source))
        return self._source()


def _from_file(path: Path) -> str:
    try:
        key = json.loads(path.read_text(encoding="utf-8"))["inference"]["key"]
    except OSError as error:
        raise KeyUnreadable(f"no key can be read from {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):  # TorchServe writes it in place: half of it may be there
        raise KeyUnreadable(f"{path} is no key file of TorchServe, or not yet written") from None
    return str(key)
