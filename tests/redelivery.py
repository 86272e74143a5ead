"""What the redelivery tests are made of: messages, consumers that can die, and a look at what is there at the end."""

from __future__ import annotations

import asyncio
import hashlib
import random
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from bson import ObjectId
from pymongo import UpdateOne

from services.fetcher.handlers import Handlers as FetcherHandlers
from services.fetcher.recognise import Recogniser
from services.storer.callbacks import Callbacks
from services.storer.handlers import Handlers as StorerHandlers
from services.storer.housekeeping import Housekeeping
from shared import events, topology, urls
from shared.blobs import CHUNK_BYTES, Blobs
from shared.broker import Publisher
from shared.catalog import Catalog
from shared.consumer import consuming, make_broker, subscribe
from shared.dead_letters import DeadLetters, read
from shared.deliveries import Deliveries
from shared.dispatch import Dispatcher
from shared.errors import Reason
from shared.image import Addition
from shared.settings import Ports, Settings
from tests.chaos.proxy import Proxy
from tests.crashing import Crash, CrashingDownloader, CrashingMongo, CrashingPublisher
from tests.polling import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    import aio_pika

    from shared.mongo import Mongo

AT = datetime(2026, 1, 2, tzinfo=UTC)
DELAYS = (0.1,)
AT_ONCE = timedelta(seconds=-1)
LARGE = CHUNK_BYTES + CHUNK_BYTES // 2
"""Two chunks, so that a process can die between them."""


# What is delivered


def bytes_of(name: str) -> bytes:
    return random.Random(name).randbytes(LARGE)


def fetched(image: str, *, revision: int = 1, attempt: int = 1, content: bytes | None = None) -> events.ImageFetched:
    content = content or bytes_of(image)
    return events.ImageFetched(
        image=image, revision=revision, attempt=attempt, url="http://a/", final_url="http://a/", fetched_at=at(attempt), took_ms=7, format="png",
        content_type="image/png", width=1, height=1, sha256=hashlib.sha256(content).hexdigest(), body=content,
    )  # fmt: skip


def delayed(image: str, *, revision: int = 1, attempt: int = 1) -> events.DownloadDelayed:
    return events.DownloadDelayed(
        image=image, revision=revision, attempt=attempt, reason=Reason.HTTP_STATUS, detail=f"number {attempt}", failed_at=at(attempt), took_ms=7,
        next_attempt_at=at(attempt + 1),
    )  # fmt: skip


def failed(image: str, *, revision: int = 1, attempt: int = 1) -> events.DownloadFailed:
    return events.DownloadFailed(
        image=image, revision=revision, attempt=attempt, reason=Reason.DNS, detail=f"number {attempt}", failed_at=at(attempt), took_ms=7
    )


def dead(image: str) -> events.Envelope:
    headers = {"v": 9, "x-death": [{"queue": topology.DOWNLOAD_FAILED.name, "reason": "rejected"}]}
    return events.Envelope("download-failed", headers, f"dead {image}".encode(), events.JSON, f"message {image}", image)


def at(attempt: int) -> datetime:
    return AT + timedelta(minutes=attempt)


# Who it is delivered to


def storer_handlers(mongo: Mongo, images: Catalog, blobs: Blobs, dispatcher: Dispatcher | None = None, **more: Any) -> StorerHandlers:
    """The storer's handlers. Without a dispatcher they have nothing to do with pages."""
    dispatcher = dispatcher or Dispatcher(Publisher("amqp://nowhere"), images)
    return StorerHandlers(images, blobs, DeadLetters(mongo, blobs), dispatcher, Callbacks(Deliveries(mongo), ""), **more)


@asynccontextmanager
async def storer(amqp_url: str, mongo_url: str, crash: Crash, *, prefetch: int = 128) -> AsyncIterator[None]:
    """What services/storer/main.py makes, of collaborators that can die."""
    async with AsyncExitStack() as stack:
        mongo = CrashingMongo(mongo_url, crash)
        stack.callback(mongo.close)
        images, blobs = Catalog(mongo), Blobs(mongo)
        publisher = await stack.enter_async_context(CrashingPublisher(amqp_url, crash, delays=DELAYS))
        await publisher.wait()
        dispatcher = await stack.enter_async_context(Dispatcher(publisher, images))
        handlers = storer_handlers(mongo, images, blobs, dispatcher)
        broker = make_broker(amqp_url, grace=5)
        subscribe(broker, topology.IMAGE_PART, handlers.on_image_part, publisher, prefetch=prefetch)
        subscribe(broker, topology.IMAGE_FETCHED, handlers.on_image_fetched, publisher, prefetch=prefetch)
        subscribe(broker, topology.DOWNLOAD_DELAYED, handlers.on_download_delayed, publisher, prefetch=prefetch)
        subscribe(broker, topology.DOWNLOAD_FAILED, handlers.on_download_failed, publisher, prefetch=prefetch)
        subscribe(broker, topology.DEAD, handlers.on_dead_letter, publisher, prefetch=prefetch, read=read)
        await stack.enter_async_context(consuming(broker, publisher))
        yield


@asynccontextmanager
async def fetcher(amqp_url: str, crash: Crash, *, prefetch: int = 128) -> AsyncIterator[None]:
    """What services/fetcher/main.py makes, of collaborators that can die."""
    settings = Settings(fetch_allow=(ip_network("127.77.0.0/16"),), fetch_ports=Ports([range(1, 65536)]), retry_delays=DELAYS)
    async with AsyncExitStack() as stack:
        downloader = await stack.enter_async_context(CrashingDownloader(settings, crash))
        recogniser = await stack.enter_async_context(Recogniser(settings))
        publisher = await stack.enter_async_context(CrashingPublisher(amqp_url, crash, delays=DELAYS))
        await publisher.wait()
        handlers = FetcherHandlers(downloader, recogniser, settings, publisher)
        broker = make_broker(amqp_url, grace=5)
        subscribe(broker, topology.DOWNLOAD_REQUESTED, handlers.on_download_requested, publisher, prefetch=prefetch)
        await stack.enter_async_context(consuming(broker, publisher))
        yield


@asynccontextmanager
async def fetchers_and_storer(amqp_url: str, mongo_url: str, crash: Crash, *, fetchers: int = 1, prefetch: int = 128) -> AsyncIterator[None]:
    """Whoever it takes from a request to the image's document; only the fetchers are watched."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(storer(amqp_url, mongo_url, Crash()))
        for _ in range(fetchers):
            await stack.enter_async_context(fetcher(amqp_url, crash, prefetch=prefetch))
        yield


async def die(amqp_url: str, moment: str, process: Callable[[str, Crash], AbstractAsyncContextManager[None]]) -> Crash:
    """Runs a process until it dies at a moment, as with SIGKILL: its connection ends, and what it had in hand is redelivered."""
    crash = Crash(moment)
    parts = urlsplit(amqp_url)
    async with Proxy(parts.port or 5672) as proxy:
        between = parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{proxy.port}").geturl()
        async with process(between, crash):
            async with asyncio.timeout(20):
                await crash.happened.wait()
            proxy.shut()
            crash.bury()
    return crash


async def add(catalog: Catalog, address: str) -> str:
    """Submits a URL, as revision 1; the image's id."""
    url = urls.parse(address)
    image = urls.image_id(url.href)
    await catalog.add([Addition(image, url)])
    await catalog.settle([UpdateOne({"_id": image}, {"$set": {"revision": 1}})])
    return image


# What is there at the end


class Ending:
    """The servers as a test leaves them."""

    def __init__(self, mongo: Mongo, channel: aio_pika.abc.AbstractChannel, announced: aio_pika.abc.AbstractQueue) -> None:
        self._mongo = mongo
        self._channel = channel
        self._announced = announced

    async def work_off(self, processes: Callable[[], AbstractAsyncContextManager[None]]) -> None:
        """Has processes work until nothing is left, neither in a queue nor in anybody's hand."""
        while True:
            async with processes():
                await until(self._taken)
            # Only when they have ended does it show what they had in hand.
            await until(self._unread)
            if await self._taken():
                return

    async def _taken(self) -> bool:
        return not any([(await self._declared(queue)).message_count for queue in topology.queues(DELAYS)])

    async def _unread(self) -> bool:
        return not any([(await self._declared(queue)).consumer_count for queue in topology.queues(DELAYS)])

    async def _declared(self, queue: topology.Queue) -> Any:
        return (await self._channel.declare_queue(queue.name, passive=True)).declaration_result

    async def announced(self) -> set[tuple[str | None, str | None]]:
        """What whoever listens has heard, repetitions left out."""
        heard = set()
        while message := await self._announced.get(fail=False, no_ack=True):
            heard.add((message.type, message.correlation_id))
        return heard

    async def sweep(self) -> None:
        """As after a day."""
        blobs = Blobs(self._mongo)
        housekeeping = Housekeeping(self._mongo, DeadLetters(self._mongo, blobs), unreferenced_for=AT_ONCE, orphaned_for=AT_ONCE)
        for _ in range(3):
            await housekeeping.sweep()

    async def document(self, image: str) -> Any:
        """An image's, without what tells it from another that fared alike: its names, and when things happened."""
        return alike(await self._mongo["images"].find_one({"_id": image}))

    async def dead_letters(self) -> list[Any]:
        return [alike(letter) async for letter in self._mongo["dead_letters"].find().sort("_id")]

    async def counts(self) -> tuple[int, int]:
        """Files and chunks; each file is whole."""
        files = await self._mongo["fs.files"].find().to_list(None)
        for file in files:
            content = b"".join([part async for part in Blobs(self._mongo).read(file["_id"])])
            assert hashlib.sha256(content).hexdigest() == file["filename"]
        return len(files), await self._mongo["fs.chunks"].count_documents({})


DIFFERENT = {"_id", "url", "host", "sha256", "size", "final_url", "message_id", "correlation_id", "took_ms", "etag"}


def alike(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: alike(inner) for name, inner in value.items() if name not in DIFFERENT}
    if isinstance(value, list):
        return [alike(inner) for inner in value]
    return type(value).__name__ if isinstance(value, datetime | ObjectId) else value
