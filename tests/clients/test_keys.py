"""Where keys come from, and what happens when one expires."""

import json
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from captioner_client import KeyRefused, KeyUnreadable

from tests.clients.conftest import Asker
from tests.clients.misbehaving import Misbehaving, Received, says, wants


def write(path: Path, key: str) -> None:
    content = {
        "management": {"key": "m"},
        "inference": {"key": key, "expiration time": "…"},
        "API": {"key": "a"},
    }
    path.write_text(json.dumps(content), encoding="utf-8")


def test_a_key_is_sent_as_it_was_given(server: Misbehaving, asker: Asker) -> None:
    asker.caption(server.url, b"a dog", {"key": "given"})
    asker.caption(server.url, b"a dog", {"key": lambda: "called\n"})
    asker.caption(server.url, b"a dog")
    assert [one.key for one in server.received] == ["Bearer given", "Bearer called", None]


def test_a_given_key_that_is_refused_is_not_sent_again(server: Misbehaving, asker: Asker) -> None:
    server.plans = [wants("new")]
    with pytest.raises(KeyRefused, match="400: Token Authorization failed"):
        asker.caption(server.url, b"a dog", {"key": "old"})
    assert len(server.received) == 1


@pytest.mark.parametrize("status", [400, 401])
def test_a_key_file_is_read_again_after_a_refusal(
    status: int, server: Misbehaving, asker: Asker, tmp_path: Path
) -> None:
    path = tmp_path / "key_file.json"
    write(path, "old")
    refusal = {"code": status, "type": "InvalidKeyException", "message": ""} if status == 400 else {}

    def change(handler: BaseHTTPRequestHandler, received: Received) -> None:
        write(path, "new")
        says(status, refusal)(handler, received)

    server.plans = [wants("old"), change, wants("new")]
    replies = asker.caption_many(server.url, [b"first", b"second"], {"key": path}, photos_per_request=1)
    assert [reply.caption for reply in replies if not isinstance(reply, Exception)] == ["first", "second"]
    assert [one.key for one in server.received] == ["Bearer old", "Bearer old", "Bearer new"]


def test_the_server_may_take_a_new_key_before_its_file_has_it(
    server: Misbehaving, asker: Asker, tmp_path: Path
) -> None:
    path = tmp_path / "key_file.json"
    write(path, "old")

    def half_written(handler: BaseHTTPRequestHandler, received: Received) -> None:
        path.write_text("{")
        wants("new")(handler, received)

    reads: list[str] = []

    def key() -> str:
        reads.append("read")
        return "old" if len(reads) < 3 else "new"

    server.plans = [wants("new")] * 3
    assert asker.caption(server.url, b"a dog", {"key": key}).caption == "a dog"
    assert len(reads) == 3
    server.plans = [half_written]
    with pytest.raises(KeyUnreadable, match="no key file of TorchServe, or not yet written"):
        asker.caption(server.url, b"a dog", {"key": path})


def test_a_key_that_stays_wrong_is_given_up(server: Misbehaving, asker: Asker, tmp_path: Path) -> None:
    write(tmp_path / "key_file.json", "wrong")
    server.plans = [wants("new")] * 9
    with pytest.raises(KeyRefused, match="Token"):
        asker.caption(server.url, b"a dog", {"key": tmp_path / "key_file.json"})
    assert len(server.received) == 4


def test_a_missing_key_file_is_named(server: Misbehaving, asker: Asker, tmp_path: Path) -> None:
    with pytest.raises(KeyUnreadable, match=r"no key can be read from .*none\.json: No such file"):
        asker.caption(server.url, b"a dog", {"key": tmp_path / "none.json"})
    assert server.received == []
