"""What becomes of a case that gets no reply."""

from typing import Never

import pytest

from fuzz.case import Case, Own
from fuzz.run import judged
from fuzz.target import Target


class Silent(Target):
    """A server that closes the connection."""

    def __init__(self) -> None:
        pass

    def ask(self, _: Case) -> Never:
        raise ConnectionResetError


@pytest.mark.parametrize(
    ("own", "status", "what"),
    [
        (Own.TOO_LARGE, "reset*", None),  # it need not read the rest of what it refuses
        (Own.BAD_HEADERS, "reset*", None),
        (Own.BAD_FORM, "none", "no reply: ConnectionResetError"),
        (None, "none", "no reply: ConnectionResetError"),
    ],
)
def test_only_refused_sizes_may_close_the_connection(own: Own | None, status: str, what: str | None) -> None:
    case = Case(own=frozenset() if own is None else frozenset({own}))
    assert judged(Silent(), case) == (status, what)
