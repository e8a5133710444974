"""Does an archive hold the code that is here? A worker runs what was packed, whatever was changed since."""

import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("handler", "model")
ENTRY = "captioner_handler.py"
"""The handler's entry point, which lies at the top of an archive."""


def outdated(archive: Path) -> bool:
    """Tell whether `handler/` or `model/` here differ from what an archive of this project holds.

    Contents are compared, as dates change with every copy and every checkout. An archive that cannot be
    read, and one with another entry point, is none of this project's: False.
    """
    try:
        with zipfile.ZipFile(archive) as packed:
            names = [name for name in packed.namelist() if name.split("/")[0] in (ENTRY, *PACKAGES)]
            stored = {name: packed.read(name) for name in names}
    except (OSError, zipfile.BadZipFile):
        return False
    here = {
        path.relative_to(ROOT).as_posix().replace(f"handler/{ENTRY}", ENTRY): path.read_bytes()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
    }
    return ENTRY in stored and stored != here
