"""The keys that TorchServe wants with every call (`key_file.json` in its working directory).

It has one key of a kind at a time: from the moment that it makes another, it refuses the one before.
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import requests

from serving.config import Endpoint
from serving.errors import ServingError

KEY_FILE = "key_file.json"


def access_key(
    root: Path, kind: Literal["inference", "management"], management: Endpoint, left: float = 0.0
) -> str:
    """Return a key that is valid for `left` s more; where it is not, the server is asked for a new one.

    Raises ServingError where there is no key file or the server does not renew.
    """
    entry = read_keys(root)[kind]
    if (datetime.fromisoformat(entry["expiration time"]) - datetime.now(UTC)).total_seconds() <= left:
        renew(root, kind, management)
        entry = read_keys(root)[kind]
    return str(entry["key"])


def read_keys(root: Path) -> dict[str, Any]:
    """Read the key file of the server that runs in `root`."""
    try:
        content: dict[str, Any] = json.loads((root / KEY_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ServingError(f"no key in {KEY_FILE}: is the server running? `make serve` starts it") from None
    return content


def renew(root: Path, kind: str, management: Endpoint) -> None:
    """Have the server write a new key of one kind into the key file."""
    headers = {"Authorization": f"Bearer {read_keys(root)['API']['key']}"}
    try:
        reply = requests.get(f"{management.url}/token", params={"type": kind}, headers=headers, timeout=10)
    except requests.RequestException:
        raise ServingError(
            f"the {kind} key has to be renewed and no server answers at {management}: `make serve` starts it"
        ) from None
    if not reply.ok:
        raise ServingError(f"the {kind} key has to be renewed and the server does not renew it: restart it")


def revoke(root: Path, management: Endpoint) -> None:
    """End the inference key that clients have: the server takes no new request, and answers those it has.

    Raises ServingError where the server does not.
    """
    renew(root, "inference", management)
    (root / KEY_FILE).unlink(missing_ok=True)
