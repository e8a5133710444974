"""Back, more workers, release, status; and what keeps them from it."""

from dataclasses import replace
from pathlib import Path

import pytest

from serving import process
from serving.errors import ServingError
from serving.store import Archive, keep
from serving.versions.bounds import Bounds
from serving.versions.management import Management
from serving.versions.operations import release, roll_back, scale, status
from serving.versions.probe import Probe, read_photos
from serving.versions.restart import bring_workers_back, last_served
from serving.versions.state import State, forget, one_at_a_time
from tests.serving.versions.conftest import Fake, write_archive

PHOTOS = {"one.png": b"1"}


@pytest.fixture
def rolled_out(fake: Fake, new: Archive) -> None:
    """2.0 is the default, and 1.0 the one before."""
    keep(fake.root, new)
    fake.loaded["2.0"], fake.default = 1, "2.0"
    State("2.0", "1.0").write(fake.root, "tiny")


@pytest.mark.usefixtures("rolled_out")
def test_back_and_back_again(fake: Fake, management: Management, probe: Probe) -> None:
    fake.loaded["2.0"] = 2
    roll_back(management, probe, PHOTOS)
    assert (fake.default, fake.loaded) == ("1.0", {"1.0": 2, "2.0": 2})
    assert State.read(fake.root, "tiny") == State("1.0", "2.0")
    roll_back(management, probe, PHOTOS)
    assert fake.default == "2.0"


@pytest.mark.usefixtures("rolled_out")
def test_back_to_a_version_that_a_restart_did_not_load(
    fake: Fake, management: Management, probe: Probe
) -> None:
    del fake.loaded["1.0"]
    roll_back(management, probe, PHOTOS)
    assert fake.default == "1.0"
    assert fake.calls[0] == "POST /models"


@pytest.mark.usefixtures("rolled_out")
@pytest.mark.parametrize("wrong", ["not ready", "no answer", "not loaded", "gone", "unknown"])
def test_where_there_is_no_way_back_the_default_stays(
    fake: Fake, management: Management, probe: Probe, wrong: str
) -> None:
    match wrong:
        case "not ready":
            fake.never_ready = True
        case "no answer":
            fake.fails = {"1.0"}
        case "not loaded":
            del fake.loaded["1.0"]
            fake.never_ready = True
        case "gone":
            del fake.loaded["1.0"]
            (fake.root / process.STORE / "tiny-1.0.mar").unlink()
        case "unknown":
            State("2.0").write(fake.root, "tiny")
    state, loaded = State.read(fake.root, "tiny"), dict(fake.loaded)
    with pytest.raises(ServingError):
        roll_back(management, probe, PHOTOS)
    assert (fake.default, fake.loaded) == ("2.0", loaded)
    assert State.read(fake.root, "tiny") == state


def test_scale_is_remembered(fake: Fake, management: Management) -> None:
    scale(management, 2)
    assert fake.loaded == {"1.0": 2}
    fake.loaded["1.0"] = 1  # a restart forgets it
    bring_workers_back(management)
    assert fake.loaded == {"1.0": 2}


def test_workers_that_do_not_start_are_not_asked_for_any_more(
    fake: Fake, management: Management, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake, "described", lambda version: Fake.described(fake, version) | {"workers": []})
    with pytest.raises(ServingError, match="was not loaded within"):
        scale(management, 3)
    assert fake.loaded["1.0"] == 1
    assert State.read(fake.root, "tiny") == State()


@pytest.mark.usefixtures("rolled_out")
def test_release_leaves_the_default_alone(fake: Fake, management: Management, probe: Probe) -> None:
    release(replace(management, dry=True))
    assert fake.calls == []
    release(management)
    assert fake.loaded == {"2.0": 1}
    assert [path.name for path in (fake.root / process.STORE).iterdir()] == ["tiny-2.0.mar"]
    assert State.read(fake.root, "tiny") == State("2.0")
    with pytest.raises(ServingError, match="no version before"):
        roll_back(management, probe, PHOTOS)


@pytest.mark.usefixtures("rolled_out")
def test_status_tells_the_truth(fake: Fake, management: Management, probe: Probe) -> None:
    lines = list(status(management, probe, PHOTOS))
    assert lines[1].split() == ["1.0", "1", "of", "1", "0", "MB", "tiny-1.0.mar", "the", "one", "before"]
    assert lines[2].endswith("tiny-2.0.mar  the default")
    assert lines[3].startswith("a photo gets its caption, by 2.0, in ")
    fake.fails = {"2.0"}
    del fake.loaded["1.0"]
    lines = list(status(management, probe, PHOTOS))
    assert lines[2:] == [
        "1.0        not loaded: `make rollback` loads it",
        "a photo gets no caption: Worker died.",
    ]


def test_a_restart_serves_what_was_rolled_out(fake: Fake, new: Archive) -> None:
    named = write_archive(fake.root / "tiny.mar", "7.0")
    assert last_served(fake.root, "tiny") == named
    copy = keep(fake.root, new)
    State("2.0", "1.0").write(fake.root, "tiny")
    assert last_served(fake.root, "tiny") == replace(new, path=copy)
    copy.unlink()
    with pytest.raises(ServingError, match="which was rolled out, is gone"):
        last_served(fake.root, "tiny")
    forget(fake.root, "tiny")
    assert last_served(fake.root, "tiny") == named


@pytest.mark.parametrize("text", ["", "[]", '{"other": 1}', '{"default": 2}', '{"workers": 0}'])
def test_a_state_that_cannot_be_is_refused(fake: Fake, text: str) -> None:
    State().write(fake.root, "tiny")
    (fake.root / process.FOLDER / "versions" / "tiny.json").write_text(text)
    with pytest.raises(ServingError, match=r"versions/tiny\.json"):
        State.read(fake.root, "tiny")


def test_two_commands_do_not_get_in_each_others_way(tmp_path: Path) -> None:
    with (
        one_at_a_time(tmp_path, "tiny"),
        pytest.raises(ServingError, match="another command is changing the versions of tiny"),
        one_at_a_time(tmp_path, "tiny"),
    ):
        pass


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fast=1", "'fast=1' is no bound: known are changed, slower, cider, errors, p95, watch"),
        ("p95=soon", "p95: 'soon' is not a number"),
        ("errors=2", "errors: 2 is not a number from 0 to 1"),
        ("watch=-1", "watch: -1 is not a number from 0"),
        ("p95=nan", "p95: nan is not a number from 0"),
    ],
)
def test_a_bound_that_is_none_is_named(text: str, said: str) -> None:
    with pytest.raises(ServingError, match=said):
        Bounds.parse([text])
    assert Bounds.parse(["p95=2", "watch=5"]) == Bounds(p95=2, watch=5)


def test_photos_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(ServingError, match=f"{tmp_path} has none"):
        read_photos(tmp_path)
    with pytest.raises(ServingError, match="no such place cannot be read: No such file"):
        read_photos(Path("no such place"))
