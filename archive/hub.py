"""Checkpoints from the Hugging Face Hub.

`huggingface_hub` finds the token (`HF_TOKEN`, or what `hf auth login` stored), shows progress,
and keeps what it fetched in its cache, which serves again where there is no network or
`HF_HUB_OFFLINE=1` forbids it.
"""

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from httpx2 import HTTPError
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from archive.errors import ArchiveError

NAME = r"(?!.*(?:--|\.\.))[A-Za-z0-9_](?:[\w.-]{,94}[A-Za-z0-9_])?"
REPOSITORY = re.compile(rf"(?=.{{1,96}}$){NAME}/{NAME}", re.ASCII)
DESCRIPTIONS = ["*.json", "*.txt", "README.md", "LICENSE*"]
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")  # best first


@dataclass(frozen=True, slots=True)
class Download:
    """A repository as it lies in the cache."""

    folder: Path
    commit: str  # which commit of the repository it is


def download(repository: str, revision: str | None) -> Download:
    """Fetch `OWNER/NAME` at a branch, tag or commit (None: its main branch) into the cache.

    Of several forms of the weights only one is fetched. Raises ArchiveError with one line for a
    repository or revision that does not exist, needs a token, or cannot be reached.
    """
    what = f"{repository} at {revision}" if revision else repository
    try:
        for form in forms(repository, revision):
            folder = Path(
                snapshot_download(repository, revision=revision, allow_patterns=[*DESCRIPTIONS, form])
            )
            if list(folder.glob(form)):
                break
    except GatedRepoError:
        raise ArchiveError(f"{what} needs a token: set HF_TOKEN, or log in with `hf auth login`") from None
    except RevisionNotFoundError:
        raise ArchiveError(f"{repository} has no revision {revision!r}") from None
    except RepositoryNotFoundError:
        raise ArchiveError(
            f"{repository} is neither a folder here nor a repository that this token may read"
        ) from None
    except LocalEntryNotFoundError:
        raise ArchiveError(f"{what} is not in the cache, and the hub cannot be reached") from None
    except (HTTPError, OSError) as error:
        raise ArchiveError(f"{what} cannot be fetched: {error}") from None
    return Download(folder, commit=folder.name)


def forms(repository: str, revision: str | None) -> Sequence[str]:
    """Which form of the weights to fetch: the better of those that the hub lists.

    Without the hub, both are left to try: the cache has no more than what was fetched.
    """
    try:
        files = HfApi().model_info(repository, revision=revision).siblings or []
    except (GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError):
        raise
    except (HTTPError, OSError):
        return WEIGHTS
    names = [file.rfilename for file in files]
    return [form for form in WEIGHTS if fnmatch.filter(names, form)][:1] or WEIGHTS[:1]
