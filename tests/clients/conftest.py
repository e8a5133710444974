"""Both clients, asked in the same way."""

import asyncio
import ssl
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

import httpx2
import pytest
from captioner_client import AsyncClient, Client, PhotoError, Reply, Retries
from captioner_client.bodies import Photo

from tests.clients.misbehaving import Misbehaving, misbehaving

SOON = Retries(most=3, first=0.002, longest=0.004)
CONTEXT = ssl.create_default_context()  # takes longer than a request, and no test needs one of its own
Settings = Mapping[str, Any]
Results = list[Reply | PhotoError]


def usual(http_client: httpx2.Client | httpx2.AsyncClient, settings: Settings) -> dict[str, Any]:
    return {"retries": SOON, "http_client": http_client, **settings}


class Asker(Protocol):
    """A client, made anew for one question, with settings and the options of a caption."""

    def caption(self, url: str, photo: Photo, settings: Settings = ..., **options: object) -> Reply: ...

    def caption_many(
        self, url: str, photos: Iterable[Photo], settings: Settings = ..., **options: object
    ) -> Results: ...


class Waiting:
    def caption(self, url: str, photo: Photo, settings: Settings = {}, **options: object) -> Reply:  # noqa: B006
        with Client(url, **usual(httpx2.Client(verify=CONTEXT), settings)) as client:
            return client.caption(photo, **options)  # type: ignore[arg-type]

    def caption_many(
        self,
        url: str,
        photos: Iterable[Photo],
        settings: Settings = {},  # noqa: B006
        **options: object,
    ) -> Results:
        with Client(url, **usual(httpx2.Client(verify=CONTEXT), settings)) as client:
            return list(client.caption_many(photos, **options))  # type: ignore[arg-type]


class Asynchronous:
    def caption(self, url: str, photo: Photo, settings: Settings = {}, **options: object) -> Reply:  # noqa: B006
        async def ask() -> Reply:
            async with AsyncClient(url, **usual(httpx2.AsyncClient(verify=CONTEXT), settings)) as client:
                return await client.caption(photo, **options)  # type: ignore[arg-type]

        return asyncio.run(ask())

    def caption_many(
        self,
        url: str,
        photos: Iterable[Photo],
        settings: Settings = {},  # noqa: B006
        **options: object,
    ) -> Results:
        async def ask() -> Results:
            async with AsyncClient(url, **usual(httpx2.AsyncClient(verify=CONTEXT), settings)) as client:
                return [reply async for reply in client.caption_many(photos, **options)]  # type: ignore[arg-type]

        return asyncio.run(ask())


@pytest.fixture(params=[Waiting, Asynchronous], ids=["Client", "AsyncClient"])
def asker(request: pytest.FixtureRequest) -> Asker:
    made: Asker = request.param()
    return made


@pytest.fixture
def server() -> Iterator[Misbehaving]:
    with misbehaving() as started:
        yield started
