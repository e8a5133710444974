"""Where results go, looked at before hours of work; and how the system's errors are told."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from training.errors import DataError


def check_writable(folder: Path) -> None:
    """Make a folder, and see whether files can be written into it.

    Raises DataError naming it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise DataError(f"{folder} cannot be written to: {error.strerror}") from None


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Give a folder aside to fill, which becomes `folder` at the end; an error leaves nothing of it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield aside
        aside.chmod(0o755)
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def reason(error: Exception) -> str:
    """Say what is wrong; of the system's errors, file and reason without the number."""
    named = isinstance(error, OSError) and error.filename is not None and error.strerror
    return f"{error.filename}: {error.strerror}" if named else str(error)  # type: ignore[attr-defined]
