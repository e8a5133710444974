"""What fails costs the photo, request or group that it is of, and nothing else."""

import base64
import json
import logging

import pytest
from torch import Tensor

from handler.captioner_handler import CaptionerHandler
from model.captioner import Caption
from model.image import MAX_SCANS
from model.search.options import GenerationOptions
from tests.handler.conftest import Item, NewContext, as_base64, ask, body
from tests.model.test_jpeg import with_scans
from tests.tiny import photo


def test_each_item_fails_alone(handler: CaptionerHandler, new_context: NewContext) -> None:
    batch: list[dict[str, object]] = [
        body(1),
        {"body": bytearray(b"no photo")},
        {},
        {"image": bytearray(photo(0, (200, 200)))},
        body(2),
    ]
    replies = ask(handler, new_context, batch)
    assert [status for status, _ in replies] == [200, 415, 400, 413, 200]
    assert [reply.get("error", {}).get("code") for _, reply in replies] == [None, 415, 400, 413, None]
    assert [replies[0][1]["caption"], replies[4][1]["caption"]] == [
        ask(handler, new_context, [body(seed)])[0][1]["caption"] for seed in (1, 2)
    ]


@pytest.mark.parametrize("prompt", ["a dog " * 40, "x" * 10_000_000, "\ud800", "\x00" * 15])
def test_a_prompt_that_cannot_be_continued_is_refused(
    handler: CaptionerHandler, new_context: NewContext, prompt: str
) -> None:
    item: Item = {"body": {"image": as_base64(0), "prompt": prompt}}
    [(status, reply), (other, _)] = ask(handler, new_context, [item, body(1)])
    assert (status, other) == (422, 200)
    assert reply["error"]["field"] in ("prompt", "max_new_tokens")
    assert len(reply["error"]["message"]) < 300


def test_the_pixels_of_a_request_are_counted_together(
    handler: CaptionerHandler, new_context: NewContext
) -> None:
    photos = [as_base64(seed, (60, 60)) for seed in range(3)]
    (status, reply), (other, _) = ask(
        handler, new_context, [{"body": {"instances": photos}}, {"body": {"instances": photos[:2]}}]
    )
    assert (status, other) == (200, 200)
    first, second, third = reply["predictions"]
    assert "caption" in first
    assert "caption" in second
    assert third["error"]["code"] == 413
    assert "10000 pixels together" in third["error"]["message"]
    assert third["error"]["field"] == "instances[2]"


def test_a_reply_that_would_end_the_worker_is_not_sent(new_context: NewContext) -> None:
    handler = CaptionerHandler()
    handler.initialize(new_context({"maxWorkers": 1, "captioner": {"max_reply_bytes": 3000}}))
    items: list[Item] = [{"body": {"instances": [as_base64(0)] * 8}}, body(0)]
    (status, reply), (other, _) = ask(handler, new_context, items)
    assert (status, other) == (422, 200)
    assert reply["error"]["type"] == "reply_too_large"


def test_a_failing_engine_gives_500_and_the_next_batch_works(
    handler: CaptionerHandler,
    new_context: NewContext,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("out of luck")

    for name in ("encode", "generate"):
        with monkeypatch.context() as broken, caplog.at_level(logging.ERROR):
            broken.setattr(handler.captioner, name, fail)
            replies = ask(handler, new_context, [body(0), {}, body(1)])
        assert [status for status, _ in replies] == [500, 400, 500]
        assert "out of luck" in caplog.text
        assert "out of luck" not in json.dumps(replies)
        caplog.clear()
    assert ask(handler, new_context, [body(0)])[0][0] == 200


def test_an_error_while_decoding_costs_its_own_group_alone(
    handler: CaptionerHandler, new_context: NewContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate = handler.captioner.generate

    def fail_on_two(
        image_tokens: Tensor, options: GenerationOptions, prompt: str
    ) -> list[tuple[Caption, ...]]:
        if options.num_beams == 2:
            raise RuntimeError("a bug")
        return generate(image_tokens, options, prompt)

    monkeypatch.setattr(handler.captioner, "generate", fail_on_two)
    replies = ask(handler, new_context, [body(0), body(1) | {"num_beams": b"2"}, body(2)])
    assert [status for status, _ in replies] == [200, 500, 200]


@pytest.mark.parametrize(
    "place",
    [
        "handler.captioner_handler.parse_request",
        "handler.captioner_handler.prepare",
        "handler.prepare.decode",
        "handler.parse.request.photo_request",
        "handler.reply.photo_body",
        "handler.explain.Explainer",
        "handler.captioner_handler.run",
        "handler.captioner_handler.request_reply",
    ],
)
def test_a_defect_anywhere_gives_500_and_no_exception(
    handler: CaptionerHandler, new_context: NewContext, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(place, fail)
    replies = ask(handler, new_context, [body(0) | {"explain": b"true"}, body(1)], describe="False")
    everywhere = place != "handler.explain.Explainer"
    assert [status for status, _ in replies] == [500, 500 if everywhere else 200]


def test_the_scans_of_a_photo_are_not_blamed_on_the_pixels_of_others(
    handler: CaptionerHandler, new_context: NewContext
) -> None:
    scans = base64.b64encode(with_scans(MAX_SCANS + 1, (10, 10))).decode()
    [(_, reply)] = ask(handler, new_context, [{"body": {"instances": [as_base64(0), scans]}}])
    error = reply["predictions"][1]["error"]
    assert (error["code"], error["type"]) == (413, "image_too_large")
    assert "scans" in error["message"]
