"""Where a checkpoint is from, and on which terms: kept in the archive's manifest."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from archive.card import Card
from archive.errors import ArchiveError
from archive.hub import REPOSITORY, download

LOCAL = "local folder"
"""The source of a folder: its name would change the archive's bytes."""


@dataclass(frozen=True, slots=True)
class Origin:
    """A checkpoint folder, and what is known of it."""

    folder: Path
    source: str  # OWNER/NAME@COMMIT of the hub, or `LOCAL`
    card: Card

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
        return cls(fetched.folder, f"{checkpoint}@{fetched.commit}", Card.of_folder(fetched.folder))

    @classmethod
    def of_folder(cls, folder: Path) -> "Origin":
        """Describe a folder on this machine."""
        return cls(folder, LOCAL, Card.of_folder(folder))

    def notes(self, weights: Path) -> dict[str, object]:
        """Describe `weights`, the file that is packed, for the manifest: digest, name, licence, data, recipe.

        Nothing in it depends on the time or on the folder's name. What the card does not say is left out,
        but for the licence.
        """
        name = None if self.source == LOCAL else self.source.partition("@")[0]
        with weights.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        told = {
            "checkpoint": name or self.card.name,
            "licence_note": self.card.limits,
            "data": self.card.data,
            "recipe": self.card.recipe,
        }
        provenance = {"weights_sha256": digest} | {key: text for key, text in told.items() if text}
        return {"source": self.source, "license": self.card.licence, "provenance": provenance}
