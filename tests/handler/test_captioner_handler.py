import json
import logging
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from ts.context import Context

from handler.captioner_handler import CaptionerHandler
from model.captioner import Caption
from model.errors import OptionError
from tests.tiny import photo

NewContext = Callable[..., Context]


def ask(
    handler: CaptionerHandler, new_context: NewContext, items: list[dict[str, object]], **headers: str
) -> list[tuple[int, Any]]:
    """Run one batch; returns each item's status and decoded body."""
    context = new_context(headers=[dict(headers) for _ in items])
    bodies = handler.handle(items, context)
    assert all(context.get_response_content_type(i) == "application/json" for i in range(len(items)))
    return [(context.get_response_status(i)[0], json.loads(body)) for i, body in enumerate(bodies)]


def body(seed: int) -> dict[str, object]:
    return {"body": bytearray(photo(seed))}


def test_a_reply_holds_what_the_engine_says(handler: CaptionerHandler, new_context: NewContext) -> None:
    [(status, reply)] = ask(handler, new_context, [body(0)])
    [expected] = handler.captioner.caption([handler.captioner.preprocess(photo(0))])
    assert status == 200
    assert [caption["caption"] for caption in reply["captions"]] == [caption.text for caption in expected]
    assert reply["captions"][0]["tokens"] == [
        {"text": token.text, "logprob": token.logprob} for token in expected[0].tokens
    ]
    assert (reply["caption"], reply["score"]) == (expected[0].text, expected[0].score)
    assert reply["model"] == {"name": "tiny", "version": "2.1"}


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


def test_a_batch_equals_singles(handler: CaptionerHandler, new_context: NewContext) -> None:
    singles = [ask(handler, new_context, [body(seed)])[0][1] for seed in range(32)]
    together = [reply for _, reply in ask(handler, new_context, [body(seed) for seed in range(32)])]
    assert len({reply["caption"] for reply in singles}) > 16  # the photos do differ
    for one, other in zip(singles, together, strict=True):
        assert [c["caption"] for c in one["captions"]] == [c["caption"] for c in other["captions"]]
        assert one["score"] == pytest.approx(other["score"], abs=1e-5)


def test_the_photos_of_a_batch_share_one_run(
    handler: CaptionerHandler, new_context: NewContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = []

    def caption(photos: Sequence[Tensor], options: object) -> list[tuple[Caption, ...]]:
        batches.append(len(photos))
        return [(Caption("a", -1.0, ()),)] * len(photos)

    monkeypatch.setattr(handler.captioner, "caption", caption)
    ask(handler, new_context, [body(0), {}, body(1), body(2)])
    ask(handler, new_context, [{}, {}])
    assert batches == [3]


def test_a_failing_engine_gives_500_and_the_next_batch_works(
    handler: CaptionerHandler,
    new_context: NewContext,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("out of luck")

    with monkeypatch.context() as broken, caplog.at_level(logging.ERROR):
        broken.setattr(handler.captioner, "caption", fail)
        replies = ask(handler, new_context, [body(0), {}, body(1)])
    assert [status for status, _ in replies] == [500, 400, 500]
    assert "out of luck" in caplog.text
    assert "out of luck" not in json.dumps(replies)
    assert ask(handler, new_context, [body(0)])[0][0] == 200


def test_a_failing_preprocessor_fails_its_photo_alone(
    handler: CaptionerHandler, new_context: NewContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    preprocess = handler.captioner.preprocess

    def fail_on_small(data: bytes) -> Tensor:
        if len(data) < 10:
            raise RuntimeError("a bug")
        return preprocess(data)

    monkeypatch.setattr(handler.captioner, "preprocess", fail_on_small)
    replies = ask(handler, new_context, [{"body": bytearray(b"small")}, body(0)])
    assert [status for status, _ in replies] == [500, 200]


def test_describe_says_how_captions_are_made(handler: CaptionerHandler, new_context: NewContext) -> None:
    [(status, reply)] = ask(handler, new_context, [{}], describe="True")
    assert status == 200
    assert reply["model"] == {"name": "tiny", "version": "2.1"}
    assert reply["options"]["num_beams"] == handler.captioner.options.num_beams
    assert reply["runtime"] == {
        "dtype": "float32",
        "threads": torch.get_num_threads(),
        "max_pixels": 10_000,
    }


def test_options_of_the_configuration_win(new_context: NewContext) -> None:
    handler = CaptionerHandler()
    handler.initialize(new_context({"maxWorkers": 1, "captioner": {"options": {"num_captions": 1}}}))
    assert handler.captioner.options.num_captions == 2  # the checkpoint's
    [(_, reply)] = ask(handler, new_context, [body(0)])
    assert len(reply["captions"]) == 1


@pytest.mark.parametrize(
    ("options", "message"), [({"beams": 3}, "beams"), ({"max_new_tokens": 99}, "max_new_tokens")]
)
def test_bad_options_keep_a_worker_from_starting(
    new_context: NewContext, options: dict[str, int], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        CaptionerHandler().initialize(new_context({"maxWorkers": 1, "captioner": {"options": options}}))


def test_workers_share_the_cores(new_context: NewContext, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[int] = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    CaptionerHandler().initialize(new_context({"maxWorkers": 2}))
    assert chosen == [4]
