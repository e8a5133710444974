"""The checkpoint of an archive (`.mar`): taken out and loaded, without running the archive's code."""

import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import yaml

from archive.errors import ArchiveError
from handler.settings import Settings, SettingsError
from model.captioner import Captioner
from model.search.options import GenerationOptions

CHECKPOINT, CONFIG = "checkpoint", "model-config.yaml"
MOST_EXPANSION = 20  # times the archive's size; weights hardly shrink, so more is no checkpoint


@contextmanager
def open_archive(path: Path) -> Iterator[tuple[Captioner, GenerationOptions]]:
    """Load what an archive holds, with the number format and search options that it is served with.

    The files are there while the block runs. Raises ArchiveError where the file is no archive of a
    captioner, names a file outside of itself, or would fill the disk; CaptionerError where its
    checkpoint does not load.
    """
    with tempfile.TemporaryDirectory(prefix="archive-") as scratch:
        folder = Path(scratch)
        extract(path, folder)
        try:
            settings = Settings.from_yaml(yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8")) or {})
        except (OSError, ValueError, AttributeError, yaml.YAMLError, SettingsError) as error:
            raise ArchiveError(f"{path}: {CONFIG} cannot be used: {error}") from None
        captioner = Captioner.from_folder(
            folder / CHECKPOINT, dtype=settings.dtype, max_pixels=settings.max_pixels
        )
        yield captioner, captioner.options.replace(**settings.options)


def extract(path: Path, folder: Path) -> None:
    """Write checkpoint and configuration of an archive into `folder`; its code stays where it is.

    Raises ArchiveError, and then nothing has been written.
    """
    try:
        with zipfile.ZipFile(path) as packed:
            entries = packed.infolist()
            for entry in entries:
                if not _inside(entry.filename):
                    raise ArchiveError(f"{path} is not safe: it names {entry.filename!r}, outside of itself")
            wanted = [entry for entry in entries if _wanted(entry.filename)]
            if not any(entry.filename.startswith(f"{CHECKPOINT}/") for entry in wanted):
                raise ArchiveError(f"{path} holds no {CHECKPOINT}/: `make archive` makes one that does")
            _check_size(path, sum(entry.file_size for entry in wanted), folder)
            packed.extractall(folder, wanted)  # no entry gets to be longer than it says
    except (OSError, ValueError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile) as error:
        raise ArchiveError(f"{path} is no archive that can be read: {error}") from None


def _check_size(path: Path, size: int, folder: Path) -> None:
    if size > MOST_EXPANSION * path.stat().st_size:
        raise ArchiveError(f"{path} is not safe: it would grow to more than {MOST_EXPANSION} times its size")
    if size > (free := shutil.disk_usage(folder).free):
        raise ArchiveError(
            f"{path} needs {size / 1e6:.0f} MB in {folder.parent}, where {free / 1e6:.0f} are left"
        )


def _inside(name: str) -> bool:
    return not (name.startswith("/") or "\\" in name or ":" in name or ".." in PurePosixPath(name).parts)


def _wanted(name: str) -> bool:
    return name == CONFIG or name.startswith(f"{CHECKPOINT}/")
