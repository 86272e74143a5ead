"""The api's composition root: `bowerbird api`."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import uuid
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from services.api.access import listening
from services.api.access.keys import Keys
from services.api.app import build_app
from services.api.health import readiness
from services.api.live.events import Seats
from services.api.live.feed import Live
from services.api.monitoring.figures import Figures
from services.api.parts import Parts
from services.api.relay import Relay
from services.api.shrinker import Shrinker
from services.api.stats import Stats
from services.api.thumbnails import Maker
from shared import exposition, metrics, process
from shared.batches import Batches
from shared.batching import Batcher
from shared.blobs import Blobs
from shared.broker import Publisher
from shared.catalog import Catalog
from shared.census import Census
from shared.dead_letters import DeadLetters
from shared.deliveries import Deliveries
from shared.dispatch import Dispatcher
from shared.leases import Lease
from shared.minutes import Minutes
from shared.mongo import Mongo
from shared.thumbnails import Thumbnails
from shared.vitals import Vitals

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from bson import ObjectId

    from shared.settings import Settings

log = logging.getLogger("bowerbird.api")

STORE_SECONDS = 3.0
"""How long MongoDB may take over one operation: a client waits for the answer."""
STOP_SECONDS = 5.0
ADDED_AT_ONCE = 500
LOOKED_UP_AT_ONCE = 200
READ_AT_ONCE = 32
READ_BYTES = 4 * 1024**2


def main() -> int:
    """Runs an api process until it is told to stop."""
    return process.run(api)


@asynccontextmanager
async def api(settings: Settings) -> AsyncIterator[None]:
    """An api that answers. It waits for neither MongoDB nor RabbitMQ, and says 503 where it needs them."""
    listener = listening.listen(settings)
    async with AsyncExitStack() as stack:
        stack.callback(listener.close)
        parts = await stack.enter_async_context(opened(settings))
        await stack.enter_async_context(listening.serving(build_app(parts), listener, grace=min(settings.grace, STOP_SECONDS)))
        # Before the server waits for what is under way: streams would never end.
        stack.callback(parts.live.close)
        keys = [f"{key.name} ({', '.join(sorted(key.scopes))})" for key in Keys(settings.api_keys)]
        log.info("listening", extra={"url": listening.url(listener), **({"keys": keys} if keys else {})})
        yield


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Parts]:
    """What the application works with, open; closed in reverse."""
    amqp_url = settings.require("amqp_url")
    async with AsyncExitStack() as stack:
        mongo = Mongo(settings.require("mongo_url"), timeout=STORE_SECONDS)
        # In a thread: it takes leave of the server, and waits for a while if there is none.
        stack.push_async_callback(asyncio.to_thread, mongo.close)
        catalog, batches, blobs = Catalog(mongo), Batches(mongo), Blobs(mongo)
        dead_letters, deliveries, thumbnails = DeadLetters(mongo, blobs), Deliveries(mongo), Thumbnails(mongo, blobs)
        publisher = await stack.enter_async_context(Publisher(amqp_url, delays=settings.retry_delays))
        minutes = await stack.enter_async_context(Minutes(log))
        dispatcher = await stack.enter_async_context(Dispatcher(publisher, catalog, minutes=minutes))
        lease = Lease(mongo, "relay", holder=f"{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex[:8]}")
        await stack.enter_async_context(process.beside(Relay(catalog, publisher, dispatcher, lease).run()))
        await stack.enter_async_context(process.beside(_create_indexes(catalog, batches, blobs, dead_letters, deliveries, thumbnails)))
        shrinker = await stack.enter_async_context(Shrinker(pixels=settings.max_pixels))
        maker = await stack.enter_async_context(Maker(thumbnails, blobs, shrinker, pixels=settings.max_pixels))
        live = Live(amqp_url)
        await stack.enter_async_context(process.beside(live.run()))
        stats, seats = Stats(Census(mongo), publisher, live, settings), Seats(settings)
        metrics.LISTENERS.set_function(lambda: len(seats))
        stack.enter_context(exposition.showing(Figures(stats, Vitals(mongo))))
        yield Parts(
            settings=settings,
            catalog=catalog,
            batches=batches,
            blobs=blobs,
            dead_letters=dead_letters,
            deliveries=deliveries,
            publisher=publisher,
            dispatcher=dispatcher,
            readiness=readiness(mongo, publisher),
            live=live,
            seats=seats,
            maker=maker,
            stats=stats,
            additions=Batcher(metrics.batched("added", catalog.add), max_items=ADDED_AT_ONCE, name="insert images"),
            lookups=Batcher(metrics.batched("looked-up", catalog.get_many), max_items=LOOKED_UP_AT_ONCE, writers=2),
            small_files=Batcher(
                metrics.batched("read", _reader(blobs)), max_items=READ_AT_ONCE, max_size=READ_BYTES, size=lambda file: file[1], writers=2
            ),
        )


def _reader(blobs: Blobs) -> Callable[[list[tuple[ObjectId, int]]], Awaitable[list[bytes | None]]]:
    return lambda files: blobs.read_small([file for file, _ in files])


async def _create_indexes(*collections: Catalog | Batches | Blobs | DeadLetters | Deliveries | Thumbnails) -> None:
    for collection in collections:
        await process.patiently(collection.create_indexes)
