"""What a server that starts serves: the version and the workers of before."""

from pathlib import Path

from serving.errors import ServingError
from serving.store import Archive, named, stored
from serving.versions.management import Management
from serving.versions.state import State
from serving.versions.workers import resize


def last_served(root: Path, name: str) -> Archive:
    """Return the archive of the version that was rolled out last, else NAME.mar; raises ServingError."""
    state = State.read(root, name)
    if state.default is None:
        return named(Archive.from_file(root / f"{name}.mar"), name)
    copy = stored(root, name, state.default)
    if not copy.exists():
        raise ServingError(
            f"{copy}, which was rolled out, is gone: `make serve MODELS={name}.mar` serves that file"
        )
    return named(Archive.from_file(copy), name)


def bring_workers_back(management: Management) -> None:
    """Give the default version as many workers as `make scale` gave it before; raises ServingError."""
    state = State.read(management.root, management.name)
    if state.workers is not None:
        resize(management, management.default(), state.workers)
