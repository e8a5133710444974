"""Captions for every photo of a split, by a running server over REST."""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import requests

from serving.access import access_key
from serving.config import ServerConfig
from serving.errors import ServingError
from training.data.captions import CaptionSet
from training.errors import ScoringError
from training.evaluation.captioning import Captioned, progress

IN_FLIGHT = 8  # requests at once: what the archive's model-config.yaml puts into one batch
TIMEOUT = 60  # s; as long as TorchServe lets a worker take
PAUSES = (0.5, 1, 2, 4)  # s before a photo is sent again to a server whose queue is full
KEY_VARIABLE = "CAPTIONER_KEY"
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

Key = Callable[[], str | None]
"""Gives the key for the next request; None where the server wants none."""


class PhotoRefused(Exception):
    """The server has no caption for one photo; the message is its reason."""


def caption_with_server(server: str, name: str, key: Key, photos: CaptionSet) -> Captioned:
    """Have a server caption every photo, several at a time; what it refuses is among the failures.

    `server` is the start of its URL, `name` may be NAME/VERSION. Raises ScoringError where no server
    answers, or it refuses key or model: every photo would fail in that way.
    """
    url = f"{server}/predictions/{quote(name)}"

    def ask(photo: str) -> tuple[str | None, str]:
        try:
            return caption_of((photos.images / photo).read_bytes(), url, key()), ""
        except PhotoRefused as refusal:
            return None, str(refusal)
        except OSError as error:
            return None, f"cannot be read: {error}"

    captions: dict[int, str] = {}
    failures: dict[int, str] = {}
    started = time.monotonic()
    with ThreadPoolExecutor(IN_FLIGHT) as clients, progress(photos) as bar:
        for photo, (caption, failure) in zip(photos.ids, clients.map(ask, photos.names), strict=True):
            bar.advance()
            if caption is None:
                failures[photo] = failure
            else:
                captions[photo] = caption
    return Captioned(captions, failures, time.monotonic() - started, options=None)


def caption_of(photo: bytes, url: str, key: str | None) -> str:
    """Send one encoded photo; raises PhotoRefused, or ScoringError where others would fail, too."""
    headers = {"Content-Type": "application/octet-stream"}
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    try:
        answer = requests.post(url, photo, headers=headers, timeout=TIMEOUT)
        for pause in PAUSES:
            if answer.status_code != requests.codes.service_unavailable:
                break
            time.sleep(pause)
            answer = requests.post(url, photo, headers=headers, timeout=TIMEOUT)
    except requests.ConnectTimeout:
        raise ScoringError(f"no server answers at {url}: no connection within {TIMEOUT} s") from None
    except requests.Timeout:
        raise PhotoRefused(f"no answer within {TIMEOUT} s") from None
    except requests.RequestException as error:
        raise ScoringError(f"no server answers at {url}: {type(error).__name__}") from None
    return _read(answer, url)


def _read(answer: requests.Response, url: str) -> str:
    status = answer.status_code
    if status == requests.codes.request_entity_too_large and not answer.content:
        raise PhotoRefused("413: larger than the server's max_request_size")
    try:
        reply = answer.json()
    except requests.JSONDecodeError:
        reply = None
    if not isinstance(reply, dict):
        raise PhotoRefused(f"{status}: the reply is no JSON object")
    caption, error = reply.get("caption"), reply.get("error")
    if isinstance(caption, str):
        return caption
    if isinstance(error, dict):  # of the captioner, about this photo
        raise PhotoRefused(f"{status}: {error.get('message')}")
    if 400 <= status < 500:  # of TorchServe itself, about key or model
        raise ScoringError(f"{url} refuses ({status}): {reply.get('message', reply)}")
    raise PhotoRefused(f"{status}: {reply.get('message', reply)}")


def server_url(text: str) -> str:
    """Check the start of a server's URL; raises ScoringError where it is none."""
    try:
        parts = urlsplit(text)
        _ = parts.port  # it is read where it is asked for
    except ValueError as error:
        raise ScoringError(f"server {text!r} is not http://HOST:PORT: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ScoringError(f"server {text!r} is not http://HOST:PORT")
    return text.rstrip("/")


def key_for(server: str, root: Path) -> Key:
    """Tell where the key for a server comes from.

    From the environment variable CAPTIONER_KEY; without it, from the key file in `root`, renewed
    when it expires, if that is the server which `root/config.properties` describes. No other
    server is shown that key.
    """
    given: Any = os.environ.get(KEY_VARIABLE)
    if given:
        return lambda: str(given)
    try:
        config = ServerConfig.from_file(root / "config.properties")
    except ServingError:
        return lambda: None
    parts = urlsplit(server)
    here = LOOPBACK | {config.inference.host}
    if parts.hostname not in here or parts.port != config.inference.port:
        return lambda: None
    one_at_a_time = threading.Lock()  # a renewed key ends the one before it

    def own() -> str:
        with one_at_a_time:
            try:
                return access_key(root, "inference", config.management)
            except ServingError as error:
                raise ScoringError(str(error)) from None

    return own
