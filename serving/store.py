"""The model store: copies of the archives that the server may load, each NAME-VERSION.mar.

A copy, so that a new archive under the name of the old one, or a plain `cp` over it, takes nothing
from the server that runs, from its restart, or from the way back.
"""

import json
import shutil
import zipfile
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from serving import process
from serving.errors import ServingError

MANIFEST = "MAR-INF/MANIFEST.json"


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive's file, and the model's name and version that its manifest tells."""

    path: Path
    name: str
    version: str

    @classmethod
    def from_file(cls, path: Path) -> "Archive":
        """Read an archive's manifest; raises ServingError where there is none."""
        try:
            with zipfile.ZipFile(path) as packed:
                model = json.loads(packed.read(MANIFEST))["model"]
            name, version = model["modelName"], model["modelVersion"]
        except FileNotFoundError:
            raise ServingError(f"{path} does not exist: `make archive NAME={path.stem}` builds it") from None
        except OSError as error:
            raise ServingError(f"{path} cannot be read: {error.strerror}") from None
        except (zipfile.BadZipFile, ValueError, KeyError, TypeError):
            raise ServingError(f"{path} cannot be read: it is no archive with a name and a version") from None
        if not isinstance(name, str) or not isinstance(version, str) or "/" in name + version:
            raise ServingError(f"{path}: {name!r} and {version!r} are no name and version of a model")
        return cls(path, name, version)


def stored(root: Path, name: str, version: str) -> Path:
    """Tell where the store of the server in `root` has a version of a model."""
    return root / process.STORE / f"{name}-{version}.mar"


def keep(root: Path, archive: Archive) -> Path:
    """Copy an archive into the store, under its name and version; returns the copy's path."""
    target = stored(root, archive.name, archive.version)
    if archive.path.resolve() != target.resolve():
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_suffix(".aside")
        try:
            shutil.copyfile(archive.path, aside)
            aside.replace(target)
        finally:
            aside.unlink(missing_ok=True)
    return target


def keep_only(root: Path, files: Collection[Path]) -> None:
    """Remove from the store what is none of these files."""
    for path in (root / process.STORE).glob("*"):
        if path not in files:
            path.unlink()


def named(archive: Archive, name: str) -> Archive:
    """Give an archive the name under which it is to be served."""
    return replace(archive, name=name)
