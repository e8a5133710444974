"""Where requests go, with which key and time limit, and what is to be done after a failure."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx2

from captioner_client.answers import failure
from captioner_client.errors import Busy, KeyRefused, Unavailable
from captioner_client.keys import Key, KeySource
from captioner_client.retries import Attempts, Retries
from captioner_client.version import __version__

CONNECT = 5.0  # s; more than a machine takes that can be reached
CONNECTION = (
    httpx2.TimeoutException,
    httpx2.NetworkError,
    httpx2.RemoteProtocolError,  # the server closed in the middle
    httpx2.ProxyError,
)
TRANSIENT = (Unavailable, Busy, KeyRefused, *CONNECTION)
"""What may be better at the next attempt."""


class Endpoint:
    """The URL of one model, as both clients use it: it neither sends nor waits.

    Raises ValueError for a URL of another scheme than HTTP, and a time limit that is not above 0.
    """

    def __init__(
        self, url: str, *, key: Key, model: str, version: str | None, timeout: float, retries: Retries
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"url: {url!r} does not begin with http:// or https://")
        if not timeout > 0:
            raise ValueError(f"timeout: {timeout} is not more than 0 s")
        parts = [model] if version is None else [model, version]
        self.url = "/".join([url.rstrip("/"), "predictions", *(quote(part, safe="") for part in parts)])
        self.key = KeySource(key)
        self.timeout = httpx2.Timeout(timeout, connect=min(timeout, CONNECT))
        self.retries = retries

    def request(self, http: httpx2.Client | httpx2.AsyncClient, body: Mapping[str, Any]) -> httpx2.Request:
        """Build a request with a body of `bodies`; it may be sent several times."""
        request = http.build_request("POST", self.url, timeout=self.timeout, **body)
        request.headers["User-Agent"] = f"captioner-client/{__version__}"
        return request

    def sign(self, request: httpx2.Request, key: str) -> None:
        """Put the key into a request."""
        if key:
            request.headers["Authorization"] = f"Bearer {key}"

    def pause_after(self, error: Exception, key: str, attempts: Attempts) -> float:
        """Return the s to wait before a request is sent again; raises what is final.

        `error` is one of TRANSIENT, `key` that of the attempt.
        """
        match error:
            case httpx2.TransportError():
                return attempts.pause_after(failure(error, self.url))
            case KeyRefused() if not self.key.fixed:
                self.key.forget(key)
                return attempts.pause_after(error)
            case Unavailable() | Busy():
                return attempts.pause_after(error)
        raise error
