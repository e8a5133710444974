"""Our own code in an archive: what goes in, and whether it is still what is here."""

import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("handler", "model")
ENTRY = "captioner_handler.py"
"""TorchServe's entry point, which lies at the top of an archive."""


def code_files() -> dict[str, Path]:
    """Return the files here of all code that a worker runs, by their names in an archive."""
    files = {
        file.relative_to(ROOT).as_posix(): file
        for package in PACKAGES
        for file in sorted((ROOT / package).rglob("*.py"))
    }
    return files | {ENTRY: files.pop(f"handler/{ENTRY}")}


def outdated(archive: Path) -> bool:
    """Tell whether `handler/` or `model/` here differ from what an archive of this project holds.

    A worker runs what was packed, whatever was changed since. Contents are compared, as dates change with
    every copy and every checkout. An archive that cannot be read, and one with another entry point, is none
    of this project's: False.
    """
    try:
        with zipfile.ZipFile(archive) as packed:
            names = [name for name in packed.namelist() if name.split("/")[0] in (ENTRY, *PACKAGES)]
            stored = {name: packed.read(name) for name in names}
    except (OSError, zipfile.BadZipFile):
        return False
    return ENTRY in stored and stored != {name: file.read_bytes() for name, file in code_files().items()}
