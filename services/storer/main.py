"""The storer's composition root: `bowerbird storer`."""

from __future__ import annotations

import asyncio
import logging
import uuid
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from services.storer.handlers import Handlers
from services.storer.housekeeping import Housekeeping
from shared import process, topology
from shared.blobs import Blobs
from shared.broker import Publisher
from shared.catalog import Catalog
from shared.consumer import consuming, make_broker, subscribe
from shared.dead_letters import DeadLetters, read
from shared.events import PART_BYTES
from shared.leases import Lease
from shared.mongo import Mongo

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shared.settings import Settings

log = logging.getLogger("bowerbird.storer")

STORE_SECONDS = 30.0
PREFETCH = 128
"""Twice what one batch takes, so that the next is there when it is written."""

PARTS_PREFETCH = 8
"""Twice what is being written at once: a storer's memory is bounded by it, and what it doesn't take is another's."""

DEAD_PREFETCH = 8


def main() -> int:
    """Runs a storer until it is told to stop."""
    return process.run(storer)


@asynccontextmanager
async def storer(settings: Settings) -> AsyncIterator[None]:
    """A storer at work, once MongoDB and RabbitMQ are there."""
    amqp_url, mongo_url = settings.require("amqp_url"), settings.require("mongo_url")
    async with AsyncExitStack() as stack:
        mongo = Mongo(mongo_url, timeout=STORE_SECONDS)
        # In a thread: it takes leave of the server, and waits for a while if there is none.
        stack.push_async_callback(asyncio.to_thread, mongo.close)
        images, blobs = Catalog(mongo), Blobs(mongo)
        dead_letters = DeadLetters(mongo, blobs)
        for collection in (images, blobs, dead_letters):
            await process.patiently(collection.create_indexes)
        publisher = await stack.enter_async_context(Publisher(amqp_url, delays=settings.retry_delays))
        await publisher.wait()
        handlers = Handlers(images, blobs, dead_letters, most_parts=-(-settings.max_image_bytes // PART_BYTES))
        broker = make_broker(amqp_url, grace=settings.grace)
        subscribe(broker, topology.IMAGE_PART, handlers.on_image_part, publisher, prefetch=PARTS_PREFETCH)
        subscribe(broker, topology.IMAGE_FETCHED, handlers.on_image_fetched, publisher, prefetch=PREFETCH)
        subscribe(broker, topology.DOWNLOAD_DELAYED, handlers.on_download_delayed, publisher, prefetch=PREFETCH)
        subscribe(broker, topology.DOWNLOAD_FAILED, handlers.on_download_failed, publisher, prefetch=PREFETCH)
        subscribe(broker, topology.DEAD, handlers.on_dead_letter, publisher, prefetch=DEAD_PREFETCH, read=read)
        await stack.enter_async_context(consuming(broker, publisher))
        housekeeping = Housekeeping(mongo, dead_letters, unreferenced_for=timedelta(seconds=settings.keep_unreferenced))
        lease = Lease(mongo, "housekeeping", holder=uuid.uuid4().hex, seconds=2 * housekeeping.every.total_seconds())
        await stack.enter_async_context(process.beside(housekeeping.run(lease)))
        log.info("storing")
        yield
