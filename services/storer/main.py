"""The storer's composition root: `bowerbird storer`."""

from __future__ import annotations

import asyncio
import logging
import uuid
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from services.storer.callbacks import Callbacks
from services.storer.completion import Completion
from services.storer.handlers import Handlers
from services.storer.housekeeping import Housekeeping
from shared import process, topology
from shared.batches import Batches
from shared.blobs import Blobs
from shared.broker import Publisher
from shared.catalog import Catalog
from shared.consumer import consuming, make_broker, subscribe
from shared.dead_letters import DeadLetters, read
from shared.deliveries import Deliveries
from shared.dispatch import Dispatcher
from shared.events import PART_BYTES
from shared.leases import Lease
from shared.minutes import Minutes
from shared.mongo import Mongo
from shared.thumbnails import Thumbnails

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shared.settings import Settings

log = logging.getLogger("bowerbird.storer")

STORE_SECONDS = 30.0
PREFETCH = 160
"""More than are being written at once (handlers.py) would only wait; in images of 1 MiB, the largest that a message has, 160 MiB."""

PARTS_PREFETCH = 8
"""Twice what is being written at once: a storer's memory is bounded by it, and what it doesn't take is another's."""

DEAD_PREFETCH = 8
PAGES_PREFETCH = 4
"""A page is up to a thousand images, and some megabytes."""


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
        images, batches, blobs = Catalog(mongo), Batches(mongo), Blobs(mongo)
        dead_letters, deliveries, thumbnails = DeadLetters(mongo, blobs), Deliveries(mongo), Thumbnails(mongo, blobs)
        for collection in (images, batches, blobs, dead_letters, deliveries, thumbnails):
            await process.patiently(collection.create_indexes)
        publisher = await stack.enter_async_context(Publisher(amqp_url, delays=settings.retry_delays))
        await publisher.wait()
        minutes = await stack.enter_async_context(Minutes(log))
        dispatcher = await stack.enter_async_context(Dispatcher(publisher, images, minutes=minutes))
        callbacks = Callbacks(deliveries, settings.public_url or "")
        most_parts = -(-settings.max_image_bytes // PART_BYTES)
        handlers = Handlers(images, blobs, dead_letters, dispatcher, callbacks, most_parts=most_parts, minutes=minutes)
        broker = make_broker(amqp_url, grace=settings.grace)
        subscribe(broker, topology.IMAGE_PART, handlers.on_image_part, publisher, prefetch=PARTS_PREFETCH)
        subscribe(broker, topology.IMAGE_FETCHED, handlers.on_image_fetched, publisher, prefetch=PREFETCH)
        subscribe(broker, topology.IMAGE_UNCHANGED, handlers.on_image_unchanged, publisher, prefetch=PREFETCH)
        subscribe(broker, topology.PAGE_SCANNED, handlers.on_page_scanned, publisher, prefetch=PAGES_PREFETCH)
        subscribe(broker, topology.DOWNLOAD_DELAYED, handlers.on_download_delayed, publisher, prefetch=PREFETCH)
        subscribe(broker, topology.DOWNLOAD_FAILED, handlers.on_download_failed, publisher, prefetch=PREFETCH)
        subscribe(broker, topology.CALLBACK_ATTEMPTED, callbacks.on_callback_attempted, publisher, prefetch=PREFETCH)
        subscribe(broker, topology.DEAD, handlers.on_dead_letter, publisher, prefetch=DEAD_PREFETCH, read=read)
        await stack.enter_async_context(consuming(broker, publisher))
        own = uuid.uuid4().hex
        completion = Completion(batches, images, callbacks, publisher)
        await stack.enter_async_context(process.beside(completion.run(Lease(mongo, "batches", holder=own))))
        housekeeping = Housekeeping(mongo, dead_letters, unreferenced_for=timedelta(seconds=settings.keep_unreferenced))
        lease = Lease(mongo, "housekeeping", holder=own, seconds=2 * housekeeping.every.total_seconds())
        await stack.enter_async_context(process.beside(housekeeping.run(lease)))
        log.info("storing")
        yield
