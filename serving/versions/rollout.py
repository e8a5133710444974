"""A new version, from its file to all of the traffic. A step that fails leaves the server as it was."""

import filecmp
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from serving.errors import ServingError
from serving.store import Archive, keep, stored
from serving.versions.bounds import Bounds
from serving.versions.compare import Gate, compare, compare_scores, measure
from serving.versions.management import Management, Version
from serving.versions.probe import Probe
from serving.versions.state import State
from serving.versions.watch import watch
from serving.versions.workers import bring_up, resize, withdraw


@dataclass(frozen=True)
class Trial:
    """What a new version has to pass."""

    photos: Mapping[str, bytes]  # path → encoded golden photo
    bounds: Bounds
    gate: Gate | None = None


def roll_out(management: Management, probe: Probe, archive: Archive, trial: Trial) -> None:
    """Make an archive's version the default, by the steps of `_steps`; the default before stays warm.

    Raises ServingError; whatever ends it early, Ctrl-C among it, the steps are undone first, the traffic's
    before all.
    """
    current = management.default()
    undo = ExitStack()
    try:
        _steps(management, probe, archive, trial, current=current, undo=undo)
    except BaseException as error:
        try:
            undo.close()
        except ServingError as second:
            raise ServingError(f"{error}; going back failed, too: {second}. See `make status`") from None
        if isinstance(error, ServingError):
            raise ServingError(f"{error}. The server is as it was: {current} is the default") from None
        management.say(f"ended early. The server is as it was: {current} is the default")
        raise
    undo.pop_all()
    for old in management.versions().keys() - {current, archive.version}:
        management.say(f"releasing {old}")
        withdraw(management, old)
        if not management.dry:
            stored(management.root, archive.name, old).unlink(missing_ok=True)
    if not management.dry:
        management.say(
            f"{archive.version} is the default. {current} stays warm for `make rollback` until `make release`"
        )


def _steps(
    management: Management, probe: Probe, archive: Archive, trial: Trial, *, current: str, undo: ExitStack
) -> None:
    """Register, load, warm, compare, shift the traffic, watch, remember; `undo` gets what undoes each."""
    say, new, dry = management.say, archive.version, management.dry
    versions = management.versions()
    if new == current:
        raise ServingError(f"{new} is the default already: `make archive VERSION=…` gives another number")
    copy = stored(management.root, archive.name, new)
    _check_same(archive, copy, versions.get(new))
    workers = versions[current].wanted
    if new in versions:
        undo.callback(resize, management, new, versions[new].wanted)
    else:
        if not dry:
            if not copy.exists():  # one that a rollback needs stays
                undo.callback(copy.unlink, missing_ok=True)
            keep(management.root, archive)
            say(f"registering {new}")
            undo.callback(withdraw, management, new)
        bring_up(management, new, 1, lambda: management.register(copy.name))
    # It comes with as many workers as its archive says, whatever is asked for when it is registered.
    resize(management, new, workers)
    if not dry:
        say(f"READY: {workers} worker{'s' if workers > 1 else ''}")
        probe.warm(trial.photos, new, workers)
        before, after = measure(probe, trial.photos, current, new)
        compare(before, after, trial.bounds, say)
        if trial.gate is not None:
            compare_scores(probe, trial.gate, (current, new), trial.bounds, say)
        undo.callback(management.set_default, current)
        say(f"{new} gets the traffic")
    # All of it at once: TorchServe knows no shares. A front door that does is to be told them here.
    management.set_default(new)
    if not dry:
        watch(probe, trial.photos, new, trial.bounds, usual=before.p95, say=say)
        kept = State.read(management.root, archive.name)
        State(new, current, kept.workers).write(management.root, archive.name)


def _check_same(archive: Archive, copy: Path, registered: Version | None) -> None:
    """Raise ServingError where the server has the archive's version from another file."""
    if registered is not None and (registered.file != copy.name or not copy.exists()):
        raise ServingError(
            f"{archive.version} is registered from {registered.file}: give this another VERSION"
        )
    if copy.exists() and not filecmp.cmp(copy, archive.path, shallow=False):
        raise ServingError(
            f"{archive.path} is another archive than the {archive.version} that the server has: "
            "give it another VERSION"
        )
