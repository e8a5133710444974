"""The clients: one that waits, and one for asyncio.

Both take the same steps. What is decided in them is in `endpoint`, `bodies` and `answers`, which neither
send nor wait.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Self, TypeVar, Unpack

import httpx2

from captioner_client.answers import replies_of, reply_of
from captioner_client.bodies import MOST_PHOTOS, Photo, asked, encoded, form, groups, instances
from captioner_client.endpoint import TRANSIENT, Endpoint
from captioner_client.errors import ImageTooLarge, PhotoError
from captioner_client.keys import Key
from captioner_client.options import Options
from captioner_client.replies import Reply
from captioner_client.retries import Attempts, Retries

Answer = TypeVar("Answer")

TIMEOUT = 70.0  # s; TorchServe gives a worker 60 s, and what waits in its queue a little more
RETRIES = Retries()


class Client:
    """Asks a captioning server at `url` (scheme, host and port); threads may share it.

    `key` is the key itself, the path of TorchServe's key file, or a function that returns a key. `model` and
    `version` name what answers (None: the default version). `timeout` limits one attempt, in s.
    `http_client` is one with certificates or proxies of your own; it is closed with this one.

    All methods raise the errors of `captioner_client.errors`.
    """

    def __init__(
        self,
        url: str,
        *,
        key: Key = None,
        model: str = "captioner",
        version: str | None = None,
        timeout: float = TIMEOUT,
        retries: Retries = RETRIES,
        http_client: httpx2.Client | None = None,
    ) -> None:
        self._endpoint = Endpoint(
            url, key=key, model=model, version=version, timeout=timeout, retries=retries
        )
        self._http = http_client or httpx2.Client()

    def caption(self, photo: Photo, *, heatmaps: bool = False, **options: Unpack[Options]) -> Reply:
        """Caption one photo; raises PhotoError where it has no caption."""
        return self._single(encoded(photo), asked(heatmaps, options))

    def caption_many(
        self,
        photos: Iterable[Photo],
        *,
        heatmaps: bool = False,
        photos_per_request: int = MOST_PHOTOS,
        **options: Unpack[Options],
    ) -> Iterator[Reply | PhotoError]:
        """Caption photos, in order; one that has no caption gives its error instead.

        They are read and sent as the results are taken, `photos_per_request` (the server's `max_photos`) at a
        time, and with heatmaps one by one. Raises what concerns a request as a whole.
        """
        fields = asked(heatmaps, options)
        for group in groups(photos, 1 if heatmaps else photos_per_request):
            results = iter(self._several([one for one in group if isinstance(one, bytes)], fields))
            for one in group:
                yield next(results) if isinstance(one, bytes) else one

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _several(self, photos: Sequence[bytes], fields: Mapping[str, object]) -> list[Reply | PhotoError]:
        together: Sequence[Reply | PhotoError | None] = [None] * len(photos)
        if len(photos) > 1:
            request = self._endpoint.request(self._http, instances(photos, fields))
            with suppress(ImageTooLarge):  # all of them together
                together = self._send(request, partial(replies_of, count=len(photos)))
        return [
            self._alone(photo, fields) if result is None else result
            for photo, result in zip(photos, together, strict=True)
        ]

    def _alone(self, photo: bytes, fields: Mapping[str, object]) -> Reply | PhotoError:
        try:
            return self._single(photo, fields)
        except PhotoError as error:
            return error

    def _single(self, photo: bytes, fields: Mapping[str, object]) -> Reply:
        return self._send(self._endpoint.request(self._http, form(photo, fields)), reply_of)

    def _send(self, request: httpx2.Request, read: Callable[[httpx2.Response], Answer]) -> Answer:
        attempts = Attempts(self._endpoint.retries)
        key = ""
        while True:
            try:
                key = self._endpoint.key.current()
                self._endpoint.sign(request, key)
                return read(self._http.send(request))
            except TRANSIENT as error:
                pause = self._endpoint.pause_after(error, key, attempts)
            time.sleep(pause)


class AsyncClient:
    """The same for asyncio: `await client.caption(…)`, `async for reply in client.caption_many(…)`.

    Files and keys are read in a thread. Any number of tasks may use it at a time.
    """

    def __init__(
        self,
        url: str,
        *,
        key: Key = None,
        model: str = "captioner",
        version: str | None = None,
        timeout: float = TIMEOUT,
        retries: Retries = RETRIES,
        http_client: httpx2.AsyncClient | None = None,
    ) -> None:
        self._endpoint = Endpoint(
            url, key=key, model=model, version=version, timeout=timeout, retries=retries
        )
        self._http = http_client or httpx2.AsyncClient()

    async def caption(self, photo: Photo, *, heatmaps: bool = False, **options: Unpack[Options]) -> Reply:
        """As `Client.caption`."""
        return await self._single(await asyncio.to_thread(encoded, photo), asked(heatmaps, options))

    async def caption_many(
        self,
        photos: Iterable[Photo],
        *,
        heatmaps: bool = False,
        photos_per_request: int = MOST_PHOTOS,
        **options: Unpack[Options],
    ) -> AsyncIterator[Reply | PhotoError]:
        """As `Client.caption_many`."""
        fields = asked(heatmaps, options)
        read = groups(photos, 1 if heatmaps else photos_per_request)
        while group := await asyncio.to_thread(next, read, None):
            results = iter(await self._several([one for one in group if isinstance(one, bytes)], fields))
            for one in group:
                yield next(results) if isinstance(one, bytes) else one

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _several(
        self, photos: Sequence[bytes], fields: Mapping[str, object]
    ) -> list[Reply | PhotoError]:
        together: Sequence[Reply | PhotoError | None] = [None] * len(photos)
        if len(photos) > 1:
            request = self._endpoint.request(self._http, instances(photos, fields))
            with suppress(ImageTooLarge):  # all of them together
                together = await self._send(request, partial(replies_of, count=len(photos)))
        return [
            await self._alone(photo, fields) if result is None else result
            for photo, result in zip(photos, together, strict=True)
        ]

    async def _alone(self, photo: bytes, fields: Mapping[str, object]) -> Reply | PhotoError:
        try:
            return await self._single(photo, fields)
        except PhotoError as error:
            return error

    async def _single(self, photo: bytes, fields: Mapping[str, object]) -> Reply:
        return await self._send(self._endpoint.request(self._http, form(photo, fields)), reply_of)

    async def _send(self, request: httpx2.Request, read: Callable[[httpx2.Response], Answer]) -> Answer:
        attempts = Attempts(self._endpoint.retries)
        key = ""
        while True:
            try:
                key = await asyncio.to_thread(self._endpoint.key.current)
                self._endpoint.sign(request, key)
                return read(await self._http.send(request))
            except TRANSIENT as error:
                pause = self._endpoint.pause_after(error, key, attempts)
            await asyncio.sleep(pause)
