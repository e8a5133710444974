"""What is done to versions that are there: back to the one before, more workers, release, a look at all."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import psutil

from serving.errors import ServingError
from serving.store import stored
from serving.versions.management import Management, Version
from serving.versions.probe import Probe
from serving.versions.state import State
from serving.versions.workers import bring_up, resize, withdraw


def roll_back(management: Management, probe: Probe, photos: Mapping[str, bytes]) -> None:
    """Make the version before the default again; the one that was stays warm. Raises ServingError."""
    root, name = management.root, management.name
    state, current, versions = State.read(root, name), management.default(), management.versions()
    previous = state.previous
    if previous is None or previous == current:
        raise ServingError("there is no version before the default one: `make rollout MAR=file` makes one")
    workers = versions[current].wanted
    if previous not in versions:
        copy = stored(root, name, previous)
        if not copy.exists():
            raise ServingError(f"{copy} is gone: `make rollout MAR=file` brings {previous} back")
        try:
            bring_up(management, previous, 1, lambda: management.register(copy.name))
        except BaseException:
            withdraw(management, previous)
            raise
    elif not versions[previous].ready:
        raise ServingError(f"{previous} has no worker that is READY. {current} stays the default")
    management.set_default(previous)
    if management.dry:
        return
    try:
        probe.ask(next(iter(photos.values())), previous, patience=60)
    except ServingError as error:
        management.set_default(current)
        raise ServingError(f"{previous} does not answer: {error}. {current} stays the default") from None
    State(previous, current, state.workers).write(root, name)
    management.say(f"{previous} is the default. {current} stays warm, until `make release`")
    if management.versions()[previous].wanted != workers:
        resize(management, previous, workers)


def scale(management: Management, workers: int) -> None:
    """Give the default version so many workers, now and after a restart. Raises ServingError."""
    version = management.default()
    resize(management, version, workers)
    if management.dry:
        return
    replace(State.read(management.root, management.name), workers=workers).write(
        management.root, management.name
    )
    management.say(f"{version}: {workers} READY")


def release(management: Management) -> None:
    """Unregister every version but the default, with its file in the store. Raises ServingError."""
    root, name, default = management.root, management.name, management.default()
    others = sorted(management.versions().keys() - {default})
    for version in others:
        withdraw(management, version)
        if not management.dry:
            stored(root, name, version).unlink(missing_ok=True)
            management.say(f"released {version}")
    if management.dry:
        return
    state = State.read(root, name)
    if state.previous is not None:
        stored(root, name, state.previous).unlink(missing_ok=True)
        replace(state, previous=None).write(root, name)
    if not others:
        management.say(f"{default} is the only version")


def status(management: Management, probe: Probe, photos: Mapping[str, bytes]) -> Iterator[str]:
    """Tell in lines which versions there are, and whether a photo gets a caption. Raises ServingError."""
    versions, default = management.versions(), management.default()
    previous = State.read(management.root, management.name).previous
    yield f"{'version':<10} {'READY':<8} {'memory':<9} archive"
    for version in sorted(versions.values(), key=lambda one: one.version):
        role = {default: "the default", previous: "the one before"}.get(version.version, "")
        ready = f"{version.ready} of {version.wanted}"
        yield f"{version.version:<10} {ready:<8} {memory(version):>5.0f} MB  {version.file}  {role}".rstrip()
    if previous is not None and previous not in versions:
        yield f"{previous:<10} not loaded: `make rollback` loads it"
    try:
        answer = probe.ask(next(iter(photos.values())))
    except ServingError as error:
        yield f"a photo gets no caption: {error}"
    else:
        yield f"a photo gets its caption, by {answer.version}, in {1000 * answer.seconds:.0f} ms"


def memory(version: Version) -> float:
    """Add up the resident memory of a version's workers, in MB."""
    total = 0.0
    for worker in version.processes():
        try:
            total += worker.memory_info().rss / 1e6
        except psutil.Error:  # it has ended meanwhile
            continue
    return total
