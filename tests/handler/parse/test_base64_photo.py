"""Base64 in JSON, as clients write it."""

import base64
import textwrap
import tracemalloc

from handler.parse.base64_photo import decoded_photo


def test_white_space_is_passed_over() -> None:
    photo = bytes(range(256)) * 4
    lines = textwrap.fill(base64.b64encode(photo).decode(), 76)
    assert decoded_photo(f" \t{lines}\r\n\u2003\u3000\v", "image") == photo


def test_white_space_costs_no_memory_to_speak_of() -> None:
    text = "A " * 4_000_000
    tracemalloc.start()
    assert decoded_photo(text, "image") == bytes(3_000_000)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 3 * len(text)
