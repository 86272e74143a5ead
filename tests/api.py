"""An api for tests: the real one, on a free port, with whatever servers a test gives it."""

from __future__ import annotations

import hashlib
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import aio_pika
import httpx
import msgspec

from services.api import listening
from services.api.app import build_app
from services.api.main import opened
from shared import urls
from shared.blobs import Blob
from shared.events import DownloadRequested, ImageFetched
from shared.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.api.parts import Parts


class Api(NamedTuple):
    """A running api: a client of it, and its insides."""

    client: httpx.AsyncClient
    parts: Parts

    async def revision(self, image: str) -> int:
        """An image's, as events must carry it."""
        found = await self.parts.catalog.get(image)
        assert found is not None
        return found.revision

    async def store(self, url: str, body: bytes) -> str:
        """Does what fetcher and storer do: the image of a URL has these bytes. The address of the image."""
        answer = await self.client.post("/images", json={"url": url})
        image = answer.json()
        fetched = ImageFetched(
            image=image["id"], revision=(await self.revision(image["id"])), url=url, final_url=url, fetched_at=datetime.now(UTC), took_ms=7, format="jpeg",
            content_type="image/jpeg", width=3, height=2, sha256=hashlib.sha256(body).hexdigest(), body=body,
        )  # fmt: skip
        await self.parts.blobs.create_indexes()
        [file] = await self.parts.blobs.store([Blob(fetched.sha256, body, fetched.content_type)])
        await self.parts.catalog.store([(fetched, file)])
        return str(image["links"]["self"])


@asynccontextmanager
async def running_api(mongo_url: str, amqp_url: str, **more: Any) -> AsyncIterator[Api]:
    """An api that listens on a free port of loopback. `more` are further settings."""
    settings = Settings(mongo_url=mongo_url, amqp_url=amqp_url, port=0, **more)
    with closing(listening.listen(settings)) as listener:
        async with (
            opened(settings) as parts,
            listening.serving(build_app(parts), listener, grace=1),
            httpx.AsyncClient(base_url=listening.url(listener), trust_env=False, timeout=30) as client,
        ):
            yield Api(client, parts)


def id_of(url: str) -> str:
    """The id of a URL's image."""
    return urls.image_id(urls.parse(url).href)


async def taken(amqp_url: str, queue: str) -> list[DownloadRequested]:
    """The requests in a queue, which are taken out of it."""
    requests = []
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        source = await channel.get_queue(queue)
        while message := await source.get(fail=False, no_ack=True):
            requests.append(msgspec.json.decode(message.body, type=DownloadRequested))
    return requests
