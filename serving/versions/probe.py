"""Photos that the operator sends to a version, to see what it answers and how soon."""

import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from serving.access import access_key
from serving.client import caption_over_http
from serving.config import ServerConfig
from serving.errors import ServingError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
PATIENCE = 5.0  # s; what takes longer has failed
WARM_UP = 4  # requests to each worker: the first ones compile and import what later ones need


@dataclass(frozen=True, slots=True)
class Answer:
    """What came for one photo."""

    caption: str
    score: float
    version: str
    seconds: float


@dataclass(frozen=True)
class Probe:
    """Sends photos to the model `name` of the server that runs in `root`."""

    root: Path
    config: ServerConfig
    name: str
    lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, photo: bytes, version: str | None = None, patience: float = PATIENCE) -> Answer:
        """Have a photo captioned, by the default version where none is given.

        Raises ServingError for anything but a caption by the version that was asked, within `patience` s.
        """
        with self.lock:  # it may be renewed
            key = access_key(self.root, "inference", self.config.management)
        name = self.name if version is None else f"{self.name}/{version}"
        began = time.perf_counter()
        reply = caption_over_http(photo, name, self.config.inference, key, timeout=patience)
        seconds = time.perf_counter() - began
        answered = str(reply["model"]["version"])
        if version not in (None, answered):
            raise ServingError(f"{version} was asked, and {answered} answered")
        return Answer(str(reply["caption"]), float(reply["score"]), answered, seconds)

    def warm(self, photos: Mapping[str, bytes], version: str, workers: int) -> None:
        """Send a version as many photos at once as reach each of its workers; raises ServingError."""
        every = list(photos.values())
        load = [every[number % len(every)] for number in range(WARM_UP * workers)]
        with ThreadPoolExecutor(2 * workers) as clients:
            for _ in clients.map(lambda photo: self.ask(photo, version, patience=60), load):
                pass


def read_photos(folder: Path) -> dict[str, bytes]:
    """Read the photos of a folder: path → encoded photo. Raises ServingError where there are none."""
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
        photos = {str(path): path.read_bytes() for path in paths}
    except OSError as error:
        raise ServingError(f"photos: {error.filename} cannot be read: {error.strerror}") from None
    if not photos:
        raise ServingError(f"photos: {folder} has none (known are {', '.join(sorted(SUFFIXES))})")
    return photos
