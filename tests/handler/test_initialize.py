"""What a worker is set to when it starts, and to whom it tells that."""

import pytest
import torch

from handler.captioner_handler import CaptionerHandler
from model.errors import OptionError
from tests.handler.conftest import ORIGIN, Item, NewContext, ask, body


def test_describe_says_how_captions_are_made(handler: CaptionerHandler, new_context: NewContext) -> None:
    [(status, reply)] = ask(handler, new_context, [{}], describe="True")
    assert status == 200
    assert reply["model"] == {"name": "tiny", "version": "2.1"}
    assert {name: reply[name] for name in ORIGIN} == ORIGIN
    assert reply["options"]["num_beams"] == handler.captioner.options.num_beams
    assert reply["limits"] == handler.settings.described_limits()
    assert reply["runtime"] == {"dtype": "float32", "threads": torch.get_num_threads()}


@pytest.mark.parametrize(
    ("item", "headers"),
    [
        ({"body": bytearray()}, {}),
        ({}, {"content-Type": "multipart/form-data; boundary=x"}),  # a form without fields
        (body(0), {}),
    ],
)
def test_a_client_is_not_told_what_the_operator_is(
    handler: CaptionerHandler, new_context: NewContext, item: Item, headers: dict[str, str]
) -> None:
    [(_, reply)] = ask(handler, new_context, [item], describe="True", **headers)
    assert not reply.keys() & {"limits", "options", "runtime", *ORIGIN}


def test_options_of_the_configuration_win(new_context: NewContext) -> None:
    handler = CaptionerHandler()
    handler.initialize(new_context({"maxWorkers": 1, "captioner": {"options": {"num_captions": 1}}}))
    assert handler.captioner.options.num_captions == 2  # the checkpoint's
    [(_, reply)] = ask(handler, new_context, [body(0)])
    assert len(reply["captions"]) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [({"beams": 3}, "beams"), ({"max_new_tokens": 99}, "max_new_tokens"), ({"num_beams": 5}, "num_beams")],
)
def test_bad_options_keep_a_worker_from_starting(
    new_context: NewContext, options: dict[str, int], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        CaptionerHandler().initialize(
            new_context({"maxWorkers": 1, "captioner": {"options": options, "limits": {"num_beams": 4}}})
        )


def test_workers_share_the_cores(new_context: NewContext, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[int] = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    CaptionerHandler().initialize(new_context({"maxWorkers": 2}))
    assert chosen == [4]
