"""A rollout whose steps fail, one after the other: the server is as it was before."""

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Never

import pytest

from serving import process
from serving.errors import ServingError
from serving.store import Archive
from serving.versions.bounds import Bounds
from serving.versions.management import Management
from serving.versions.probe import Probe
from serving.versions.rollout import Trial, roll_out
from serving.versions.state import State
from serving.versions.watch import watch
from tests.serving.versions.conftest import Fake, write_archive

BOUNDS = Bounds(watch=0.3, p95=100, slower=100)
TRIAL = Trial({"one.png": b"1", "two.png": b"2"}, BOUNDS)


def files(fake: Fake) -> set[str]:
    return {path.name for path in (fake.root / process.STORE).iterdir()}


def test_a_good_version_gets_the_traffic_and_the_one_before_stays(
    fake: Fake, management: Management, probe: Probe, new: Archive, told: list[str]
) -> None:
    fake.loaded["1.0"] = 3
    fake.captions["2.0"] = "a cat"
    roll_out(management, probe, new, TRIAL)
    assert (fake.default, fake.loaded) == ("2.0", {"1.0": 3, "2.0": 3})
    assert files(fake) == {"tiny-1.0.mar", "tiny-2.0.mar"}
    assert State.read(fake.root, "tiny") == State("2.0", "1.0")
    assert "captions changed: 2 of 2" in "\n".join(told)
    assert "  1.0: a dog (score -1.00)" in told
    assert "  2.0: a cat (score -1.00)" in told


def test_a_dry_run_shows_the_calls_that_a_real_one_makes(
    fake: Fake, management: Management, probe: Probe, new: Archive, told: list[str]
) -> None:
    roll_out(replace(management, dry=True), probe, new, TRIAL)
    assert fake.calls == []
    assert files(fake) == {"tiny-1.0.mar"}
    assert State.read(fake.root, "tiny") == State()
    shown = [line.partition("?")[0] for line in told]
    assert told[0].startswith("POST /models?url=tiny-2.0.mar&model_name=tiny&")
    roll_out(management, probe, new, TRIAL)
    assert fake.calls == shown


def wrong(fake: Fake, what: str) -> Bounds:
    """Have the fake do something wrong; returns the bounds that see it."""
    match what:
        case "never ready":
            fake.never_ready = True
        case "fails":
            fake.fails = {"2.0"}
        case "other captions":
            fake.captions["2.0"] = "a cat"
            return replace(BOUNDS, changed=0.5)
        case "slow":
            fake.delays["2.0"] = 0.1
            return replace(BOUNDS, slower=2)
        case "fails with the traffic":
            fake.fails_as_default = {"2.0"}
        case "slow with the traffic":
            fake.delays["2.0"] = 0.05
            return replace(BOUNDS, p95=2, watch=60)
        case call:
            fake.refuses = call
    return BOUNDS


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("POST /models", "POST /models: 500 it broke"),
        ("never ready", "version 2.0 was not loaded within"),
        ("PUT /models/tiny/2.0", "PUT /models/tiny/2.0: 500 it broke"),
        ("fails", "Worker died."),
        ("other captions", "100% of the captions changed: beyond changed=0.5"),
        ("slow", "times as long: beyond slower=2"),
        ("/2.0/set-default", "set-default: 500 it broke"),
        ("fails with the traffic", "1 of 1 requests failed: Worker died.: beyond errors=0.01"),
        ("slow with the traffic", "times that of the version before: beyond p95=2"),
    ],
)
def test_a_step_that_fails_leaves_the_server_as_it_was(
    management: Management, probe: Probe, new: Archive, *, fake: Fake, what: str, said: str
) -> None:
    bounds = wrong(fake, what)
    with pytest.raises(ServingError) as failed:
        roll_out(management, probe, new, replace(TRIAL, bounds=bounds))
    assert said in str(failed.value)
    assert str(failed.value).endswith("The server is as it was: 1.0 is the default")
    assert (fake.default, fake.loaded) == ("1.0", {"1.0": 1})
    assert files(fake) == {"tiny-1.0.mar"}
    assert State.read(fake.root, "tiny") == State()


def test_a_version_that_breaks_while_it_is_watched_is_gone_within_seconds(
    fake: Fake, management: Management, probe: Probe, new: Archive
) -> None:
    broken_at = 0.0

    def breaks() -> None:
        nonlocal broken_at
        fake.fails, broken_at = {"2.0"}, time.monotonic()

    timer = threading.Timer(1.0, breaks)
    timer.start()
    with pytest.raises(ServingError, match="requests failed"):
        roll_out(management, probe, new, replace(TRIAL, bounds=replace(BOUNDS, watch=60)))
    timer.join()
    assert 0 < time.monotonic() - broken_at < 10
    assert fake.default == "1.0"


def test_failures_of_clients_count_too(
    fake: Fake, management: Management, probe: Probe, new: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    def watch_while_clients_lose(*arguments: object, **named: object) -> None:
        threading.Timer(0.1, setattr, (fake, "lost", 5)).start()
        watch(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr("serving.versions.rollout.watch", watch_while_clients_lose)
    with pytest.raises(ServingError, match=r"5 of \d+ requests failed: beyond errors=0\.01"):
        roll_out(management, probe, new, TRIAL)
    assert fake.default == "1.0"


def test_an_interrupt_goes_back_too(
    fake: Fake,
    management: Management,
    probe: Probe,
    new: Archive,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: object, **__: object) -> Never:
        raise KeyboardInterrupt

    monkeypatch.setattr("serving.versions.rollout.watch", interrupted)
    said: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        roll_out(replace(management, say=said.append), probe, new, TRIAL)
    assert "PUT /models/tiny/2.0/set-default" in fake.calls
    assert (fake.default, fake.loaded) == ("1.0", {"1.0": 1})
    assert said[-1] == "ended early. The server is as it was: 1.0 is the default"


def test_going_back_that_fails_is_told(
    fake: Fake, management: Management, probe: Probe, new: Archive
) -> None:
    fake.fails_as_default, fake.refuses = {"2.0"}, "/1.0/set-default"
    with pytest.raises(ServingError, match=r"going back failed, too: .*\. See `make status`"):
        roll_out(management, probe, new, TRIAL)


def test_a_third_version_takes_the_place_of_the_first(
    fake: Fake, management: Management, probe: Probe, new: Archive, tmp_path: Path
) -> None:
    roll_out(management, probe, new, TRIAL)
    roll_out(management, probe, write_archive(tmp_path / "any.mar", "3.0"), TRIAL)
    assert (fake.default, fake.loaded) == ("3.0", {"2.0": 1, "3.0": 1})
    assert files(fake) == {"tiny-2.0.mar", "tiny-3.0.mar"}
    assert State.read(fake.root, "tiny") == State("3.0", "2.0")


def test_a_version_cannot_be_rolled_out_from_two_files(
    fake: Fake, management: Management, probe: Probe, new: Archive, tmp_path: Path
) -> None:
    with pytest.raises(ServingError, match=r"1\.0 is the default already"):
        roll_out(management, probe, write_archive(tmp_path / "any.mar", "1.0"), TRIAL)
    fake.loaded["2.0"] = 1
    with pytest.raises(
        ServingError, match=r"2\.0 is registered from tiny-2\.0\.mar: give this another VERSION"
    ):
        roll_out(management, probe, new, TRIAL)
    del fake.loaded["2.0"]
    roll_out(management, probe, new, TRIAL)
    fake.default = "1.0"
    other = write_archive(tmp_path / "any.mar", "2.0", weights="other")
    with pytest.raises(ServingError, match=r"any\.mar is another archive than the 2\.0 that the server has"):
        roll_out(management, probe, other, TRIAL)
    assert fake.loaded == {"1.0": 1, "2.0": 1}
    calls = len(fake.calls)
    roll_out(management, probe, new, TRIAL)  # the same file: it is warm already
    assert "POST /models" not in fake.calls[calls:]
    assert fake.default == "2.0"
