"""Everything that is wrong with a data folder, collected before anything is trained on it."""

from collections.abc import Iterator

from training.errors import DataError

SHOWN = 5  # problems of one kind that are listed in full


class Problems:
    """Problems by kind, in the order in which they were found."""

    def __init__(self) -> None:
        self._found: dict[str, dict[str, None]] = {}  # the inner ones are ordered sets

    def add(self, kind: str, line: str) -> None:
        """Note one problem, once: `kind` is what is counted together, `line` says file, place and fault."""
        self._found.setdefault(kind, {})[line] = None

    def __len__(self) -> int:
        return sum(len(lines) for lines in self._found.values())

    def lines(self) -> Iterator[str]:
        """Yield a line per problem; of a kind that occurs more than SHOWN times, the rest as one count."""
        for kind, lines in self._found.items():
            yield from list(lines)[:SHOWN]
            if len(lines) > SHOWN:
                yield f"… and {len(lines) - SHOWN} more: {kind} ({len(lines)} in all)"

    def check(self) -> None:
        """Raise DataError with all lines if there was any problem."""
        if len(self) == 1:
            raise DataError(next(self.lines()))
        if len(self):
            raise DataError("\n  ".join([f"the data has {len(self)} problems:", *self.lines()]))
