"""The line that a request leaves."""

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ts.context import RequestProcessor

from handler.captioner_handler import CaptionerHandler
from handler.request_log import request_id
from tests.handler.conftest import Item, NewContext, as_base64, body
from tests.tiny import photo

Line = dict[str, Any]
Ask = Callable[[list[Item], list[dict[str, str]]], tuple[list[Line], list[Line]]]


@pytest.fixture
def logged(
    handler: CaptionerHandler,
    new_context: NewContext,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> Ask:
    """Ask for one batch; returns its lines and its replies."""
    monkeypatch.setattr(handler, "settings", replace(handler.settings, log_requests=True))
    caplog.set_level(logging.INFO, "handler.request_log")

    def ask(items: list[Item], headers: list[dict[str, str]]) -> tuple[list[Line], list[Line]]:
        context = new_context()
        context.request_processor = [RequestProcessor(one) for one in headers]
        context.request_ids = {index: f"own-{index}" for index in range(len(items))}
        caplog.clear()
        bodies = handler.handle(items, context)
        lines = [record.getMessage() for record in caplog.records if record.name == "handler.request_log"]
        return [json.loads(line) for line in lines], [json.loads(one) for one in bodies]

    return ask


def test_each_request_leaves_a_line(logged: Ask) -> None:
    instances: Item = {"body": {"instances": [as_base64(1), "***", as_base64(2)]}}
    lines, replies = logged([body(0), {"body": bytearray(b"no photo")}, instances, {}], [{}, {}, {}, {}])
    assert [line["status"] for line in lines] == [200, 415, 200, 400]
    assert [line["outcome"] for line in lines] == ["ok", "not_an_image", "ok", "bad_request"]
    assert [line["photos"] for line in lines] == [1, 1, 3, 0]
    assert lines[0]["tokens"] == sum(len(caption["tokens"]) for caption in replies[0]["captions"])
    assert [line["tokens"] > 0 for line in lines] == [True, False, True, False]
    assert {line["batch"]["requests"] for line in lines} == {4}
    assert 0 < lines[0]["stages"]["encode"] < lines[0]["batch"]["seconds"]
    assert [line["stages"] == {} for line in lines] == [False, True, False, True]
    assert lines[0]["model"] == {"name": "tiny", "version": "2.1"}
    age = datetime.now(UTC) - datetime.fromisoformat(lines[0]["time"])
    assert timedelta() <= age < timedelta(minutes=1)


def test_the_clients_id_is_taken_over(logged: Ask) -> None:
    lines, _ = logged([body(0), body(1)], [{"X-REQUEST-ID": "order-17"}, {}])
    assert [line["request_id"] for line in lines] == ["order-17", "own-1"]
    assert [line["torchserve_id"] for line in lines] == ["own-0", "own-1"]


@pytest.mark.parametrize("sent", ["", "a b", 'a"}', "a\n", "a\r\nb", "ä", "x" * 129, "\x1b[2J"])
def test_an_id_that_could_look_like_something_else_is_not(sent: str) -> None:
    assert request_id({"x-request-id": sent}, "own") == "own"
    assert request_id({"x-request-id": {"content-type": "text/plain"}}, "own") == "own"  # a field of a form


def test_nothing_else_that_was_sent_is_in_it(logged: Ask) -> None:
    sent: Item = {
        "image": bytearray(photo(0)),
        "prompt": bytearray(b"a dog"),
        "explain": bytearray(b"true"),
        "method": bytearray(b"attention"),
    }
    lines, replies = logged(
        [sent, {**sent, "num_beans": bytearray(b"secret")}], [{"Authorization": "Bearer k3y"}] * 2
    )
    assert "caption" in replies[0]
    text = json.dumps(lines)
    for told in ("a dog", "k3y", "Bearer", "num_beans", "secret", replies[0]["caption"]):
        assert told not in text


def test_without_the_option_there_is_no_line(
    handler: CaptionerHandler, new_context: NewContext, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "handler.request_log")
    handler.handle([body(0)], new_context(headers=[{}]))
    assert "handler.request_log" not in {record.name for record in caplog.records}
