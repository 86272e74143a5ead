"""An api for tests: the real one, on a free port, with whatever servers a test gives it."""

from __future__ import annotations

import hashlib
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import aio_pika
import httpx
import msgspec

from services.api.access import listening
from services.api.app import build_app
from services.api.main import opened
from services.storer.pages import Pages
from shared import outcomes, urls
from shared.blobs import Blob
from shared.errors import Reason
from shared.events import DownloadDelayed, DownloadFailed, DownloadRequested, ImageFetched, ImageUnchanged, PageScanned
from shared.settings import Settings
from tests.chaos.proxy import Proxy
from tests.polling import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

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
        await self.fetched(image["id"], body)
        return str(image["links"]["self"])

    async def expand(self, url: str, images: Sequence[str]) -> str:
        """As `store`, of a page that has these images. The address of the page."""
        page = (await self.client.post("/images", json={"url": url})).json()
        await self.scanned(page["id"], images)
        return str(page["links"]["self"])

    # What fetcher and storer make of a download of an image, by its id; of its present revision, unless `more` has another one.

    async def fetched(self, image: str, body: bytes, **more: Any) -> None:
        """It gave these bytes."""
        facts = await self._facts(image) | {
            "url": "https://example.org/", "final_url": "https://example.org/", "fetched_at": datetime.now(UTC), "format": "jpeg",
            "content_type": "image/jpeg", "width": 3, "height": 2, "sha256": hashlib.sha256(body).hexdigest(), "body": body,
        }  # fmt: skip
        event = ImageFetched(**(facts | more))
        await self.parts.blobs.create_indexes()
        [(file, _)] = await self.parts.blobs.store([Blob(event.sha256, body, event.content_type)])
        await self.parts.catalog.store([(event, file)])

    async def unchanged(self, image: str, **more: Any) -> None:
        """The origin has nothing newer than the copy that is held."""
        event = ImageUnchanged(**(await self._facts(image) | {"checked_at": datetime.now(UTC)} | more))
        await self.parts.catalog.settle(outcomes.unchanged(event))

    async def delayed(self, image: str, **more: Any) -> None:
        """It failed, and will be tried again."""
        at = datetime.now(UTC)
        facts = {"reason": Reason.TIMEOUT, "detail": "Too slow.", "failed_at": at, "next_attempt_at": at + timedelta(seconds=5)}
        await self.parts.catalog.settle(outcomes.unfetched(DownloadDelayed(**(await self._facts(image) | facts | more))))

    async def failed(self, image: str, **more: Any) -> None:
        """It failed for good."""
        facts = {"reason": Reason.HTTP_STATUS, "detail": "404 Not Found", "failed_at": datetime.now(UTC)}
        await self.parts.catalog.settle(outcomes.unfetched(DownloadFailed(**(await self._facts(image) | facts | more))))

    async def scanned(self, image: str, images: Sequence[str], **more: Any) -> DownloadFailed | None:
        """It gave a page with these images."""
        facts = {"url": "https://example.org/", "scanned_at": datetime.now(UTC), "images": list(images)}
        pages = Pages(self.parts.catalog, self.parts.dispatcher)
        return await pages.expand(PageScanned(**(await self._facts(image) | facts | more)))

    async def _facts(self, image: str) -> dict[str, Any]:
        found = await self.parts.catalog.get(image)
        return {"image": image, "revision": found.revision if found else 0, "took_ms": 7}


@asynccontextmanager
async def running_api(mongo_url: str, amqp_url: str, **more: Any) -> AsyncIterator[Api]:
    """An api that listens on a free port of loopback. `more` are further settings."""
    settings = Settings(mongo_url=mongo_url, amqp_url=amqp_url, port=0, **more)
    with closing(listening.listen(settings)) as listener:
        async with (
            opened(settings) as parts,
            listening.serving(build_app(parts), listener, grace=1),
            httpx.AsyncClient(base_url=listening.url(listener), trust_env=False, verify=False, timeout=30) as client,
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


def gate_to(url: str) -> Proxy:
    """A proxy to the server of a URL, to be shut and opened, or to hold what comes."""
    return Proxy(urlsplit(url).port or 0)


def through(gate: Proxy, url: str) -> str:
    """The URL with the gate's port, and for MongoDB without the discovery that would lead around it."""
    parts = urlsplit(url)
    user, at, _ = parts.netloc.rpartition("@")
    netloc = f"{user}{at}127.0.0.1:{gate.port}"
    return parts._replace(netloc=netloc, query="directConnection=true" if parts.scheme == "mongodb" else parts.query).geturl()


async def rabbitmq_says(api: Api, what: str) -> None:
    """Waits until the api sees RabbitMQ so."""

    async def asked() -> bool:
        return bool((await api.client.get("/health/ready")).json()["checks"]["rabbitmq"] == what)

    await until(asked)
