"""What is sent again, how often and when."""

import logging
import random
import socket
import time

import pytest
from captioner_client import (
    CaptionerError,
    InternalError,
    InvalidValue,
    ModelNotFound,
    Overloaded,
    Retries,
    TimedOut,
    UnexpectedReply,
    Unreachable,
    WorkerLost,
)

from tests.clients.conftest import SOON, Asker
from tests.clients.misbehaving import Misbehaving, Plan, breaks_off, drops, error, says, slow, torchserve

WORKER_DIED = torchserve(500, "InternalServerException", "Worker died.")
SENT_AGAIN = {
    "507": (torchserve(507, "InternalServerException", "Prediction failed"), WorkerLost),
    "500 of a lost worker": (WORKER_DIED, WorkerLost),
    "503": (torchserve(503, "ServiceUnavailableException", "no worker"), Overloaded),
    "503 of nginx": (says(503, b"<html>"), Overloaded),
    "429": (says(429, b"<html>"), Overloaded),
    "502": (says(502, b"<html>"), Unreachable),
    "504": (says(504, b"<html>"), TimedOut),
    "reset": (drops, Unreachable),
    "broken off": (breaks_off, Unreachable),
}
NOT_SENT_AGAIN = {
    "422": (says(422, error(422, "invalid_value")), InvalidValue),
    "404": (torchserve(404, "ModelNotFoundException", "Model not found: x"), ModelNotFound),
    "500 of the handler": (says(500, error(500, "internal_error")), InternalError),
    "500 of something else": (says(500, b"<html>"), UnexpectedReply),
    "redirect": (says(302, b"", Location="http://127.0.0.1:9/"), UnexpectedReply),
    "no JSON": (says(200, b"<html>"), UnexpectedReply),
}


@pytest.mark.parametrize(("plan", "_raised"), SENT_AGAIN.values(), ids=SENT_AGAIN)
def test_what_passes_is_sent_again(
    plan: Plan, _raised: type[CaptionerError], server: Misbehaving, asker: Asker
) -> None:
    server.plans = [plan, plan, plan]
    assert asker.caption(server.url, b"a dog", num_beams=3).caption == "a dog"
    assert [(one.photos, one.options) for one in server.received] == [(["a dog"], {"num_beams": 3})] * 4


@pytest.mark.parametrize(("plan", "raised"), SENT_AGAIN.values(), ids=SENT_AGAIN)
def test_what_does_not_pass_is_raised(
    plan: Plan, raised: type[CaptionerError], server: Misbehaving, asker: Asker
) -> None:
    server.plans = [plan] * 5
    with pytest.raises(raised):
        asker.caption(server.url, b"a dog")
    assert len(server.received) == 1 + SOON.most


@pytest.mark.parametrize(("plan", "raised"), NOT_SENT_AGAIN.values(), ids=NOT_SENT_AGAIN)
def test_what_is_final_is_raised_at_once(
    plan: Plan, raised: type[CaptionerError], server: Misbehaving, asker: Asker
) -> None:
    server.plans = [plan]
    with pytest.raises(raised):
        asker.caption(server.url, b"a dog")
    assert len(server.received) == 1


def test_a_slow_answer_is_given_up_and_asked_for_again(server: Misbehaving, asker: Asker) -> None:
    server.plans = [slow(1.0)]
    assert asker.caption(server.url, b"a dog", {"timeout": 0.2}).caption == "a dog"
    server.plans = [slow(1.0)]
    with pytest.raises(TimedOut, match="no answer in time"):
        asker.caption(server.url, b"a dog", {"timeout": 0.2, "retries": Retries(most=0)})


def test_where_nobody_listens(asker: Asker) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(Unreachable, match=url):
            asker.caption(url, b"a dog")


def test_pauses_double_up_to_a_bound_and_are_up_to_half_shorter() -> None:
    retries = Retries(first=0.25, longest=1.5)
    random.seed(0)
    drawn = [[retries.pause(failures) for _ in range(200)] for failures in (1, 2, 3, 4, 50)]
    for pauses, longest in zip(drawn, (0.25, 0.5, 1.0, 1.5, 1.5), strict=True):
        assert longest / 2 <= min(pauses) < 0.55 * longest
        assert 0.95 * longest < max(pauses) <= longest


def test_a_server_may_say_when_to_come_back(server: Misbehaving, asker: Asker) -> None:
    server.plans = [says(503, b"", Retry_After="1")]
    began = time.monotonic()
    asker.caption(server.url, b"a dog")
    assert 1 <= time.monotonic() - began < 1.9


def test_nothing_is_sent_again_after_the_time_for_it(server: Misbehaving, asker: Asker) -> None:
    server.plans = [says(503, b"", Retry_After="60")]
    with pytest.raises(Overloaded):
        asker.caption(server.url, b"a dog", {"retries": Retries(within=59)})
    assert len(server.received) == 1


@pytest.mark.parametrize("field", ["most", "first", "longest", "within"])
def test_numbers_below_0_are_refused(field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}: -1"):
        Retries(**{field: -1})


def test_a_retry_is_one_line_without_photo_or_key(
    server: Misbehaving, asker: Asker, caplog: pytest.LogCaptureFixture
) -> None:
    server.plans = [WORKER_DIED]
    with caplog.at_level(logging.DEBUG, "captioner_client"):
        asker.caption(server.url, b"a dog", {"key": "secret"})
    [line] = [record.getMessage() for record in caplog.records if record.name == "captioner_client"]
    assert line.startswith("WorkerLost; sent again in 0.00")
