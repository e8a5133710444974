"""Which version is served: kept in a file, as TorchServe forgets it with its end (pytorch/serve#2744)."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path

from serving import process
from serving.errors import ServingError

FOLDER = process.FOLDER / "versions"


@dataclass(frozen=True, slots=True)
class State:
    """What a restart has to bring back."""

    default: str | None = None
    """The version that was rolled out; None: what `make serve` finds."""
    previous: str | None = None
    """The version before it, to which `make rollback` leads."""
    workers: int | None = None
    """How many were asked for; None: as many as the archive says."""

    @classmethod
    def read(cls, root: Path, name: str) -> "State":
        """Read the state of a model; an empty one where nothing was kept. Raises ServingError."""
        path = _path(root, name)
        try:
            kept = cls(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, TypeError):
            raise ServingError(f"{path} cannot be read: without it, {name}.mar is served") from None
        texts = (kept.default, kept.previous)
        if not all(text is None or isinstance(text, str) for text in texts):
            raise ServingError(f"{path}: {texts} are no versions")
        if kept.workers is not None and (not isinstance(kept.workers, int) or kept.workers < 1):
            raise ServingError(f"{path}: {kept.workers!r} workers cannot be")
        return kept

    def write(self, root: Path, name: str) -> None:
        """Keep the state of a model: aside and renamed, so that it is there whole."""
        path = _path(root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(".aside")
        aside.write_text(json.dumps(asdict(self)) + "\n", encoding="utf-8")
        aside.replace(path)


def forget(root: Path, name: str) -> None:
    """Drop the state of a model, for which another archive was asked."""
    _path(root, name).unlink(missing_ok=True)


@contextmanager
def one_at_a_time(root: Path, name: str) -> Iterator[None]:
    """Keep other commands from changing the versions meanwhile; raises ServingError where one does."""
    path = _path(root, name).with_suffix(".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        try:
            flock(lock, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            raise ServingError(f"another command is changing the versions of {name}") from None
        yield


def _path(root: Path, name: str) -> Path:
    return root / FOLDER / f"{name}.json"
