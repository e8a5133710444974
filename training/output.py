"""Where results go, looked at before hours of work; and how the system's errors are told."""

import tempfile
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


def reason(error: Exception) -> str:
    """Say what is wrong; of the system's errors, file and reason without the number."""
    named = isinstance(error, OSError) and error.filename is not None and error.strerror
    return f"{error.filename}: {error.strerror}" if named else str(error)  # type: ignore[attr-defined]
