"""Where a checkpoint is from, and under which licence: kept in the archive's manifest."""

from dataclasses import dataclass
from pathlib import Path

import yaml

from archive.errors import ArchiveError
from archive.hub import REPOSITORY, download


@dataclass(frozen=True, slots=True)
class Origin:
    """A checkpoint folder, and what is known of it."""

    folder: Path
    source: str  # OWNER/NAME@COMMIT of the hub, or "local folder": its name would change the archive's bytes
    licence: str  # as its model card states it, or "not stated"

    @classmethod
    def of(cls, checkpoint: str, revision: str | None) -> "Origin":
        """Find a checkpoint: a folder here, else a repository of the Hugging Face Hub.

        Raises ArchiveError with one line where it is neither, or cannot be fetched.
        """
        folder = Path(checkpoint)
        if folder.is_dir():
            if revision:
                raise ArchiveError(
                    f"{checkpoint} is a folder: a revision ({revision}) is for the hub's repositories"
                )
            return cls.of_folder(folder)
        if not REPOSITORY.fullmatch(checkpoint):
            raise ArchiveError(f"{checkpoint} is neither a folder nor an OWNER/NAME of the Hugging Face Hub")
        fetched = download(checkpoint, revision)
        return cls(fetched.folder, f"{checkpoint}@{fetched.commit}", licence_of(fetched.folder))

    @classmethod
    def of_folder(cls, folder: Path) -> "Origin":
        """Describe a folder on this machine."""
        return cls(folder, "local folder", licence_of(folder))


def licence_of(folder: Path) -> str:
    """Read the licence from the front matter of a model card (README.md between two `---` lines)."""
    try:
        _, matter, _ = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
        card = yaml.safe_load(matter)
        stated = card["license_name"] if card["license"] == "other" else card["license"]
    except (OSError, ValueError, LookupError, TypeError, yaml.YAMLError):
        return "not stated"
    return str(stated)
