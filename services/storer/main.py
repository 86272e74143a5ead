"""The storer's composition root: `bowerbird storer`."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from services.storer.handlers import Handlers
from shared import process, topology
from shared.blobs import Blobs
from shared.broker import Publisher
from shared.catalog import Catalog
from shared.consumer import consuming, make_broker, subscribe
from shared.mongo import Mongo

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shared.settings import Settings

log = logging.getLogger("bowerbird.storer")

STORE_SECONDS = 30.0
PREFETCH = 128
"""Twice what one batch takes, so that the next is there when it is written."""


def main() -> int:
    """Runs a storer until it is told to stop."""
    return process.run(storer)


@asynccontextmanager
async def storer(settings: Settings) -> AsyncIterator[None]:
    """A storer at work, once MongoDB and RabbitMQ are there."""
    amqp_url, mongo_url = settings.require("amqp_url"), settings.require("mongo_url")
    async with AsyncExitStack() as stack:
        mongo = Mongo(mongo_url, timeout=STORE_SECONDS)
        stack.callback(mongo.close)
        images, blobs = Catalog(mongo), Blobs(mongo)
        await process.patiently(images.create_indexes)
        await process.patiently(blobs.create_indexes)
        publisher = await stack.enter_async_context(Publisher(amqp_url, delays=settings.retry_delays))
        await publisher.wait()
        handlers = Handlers(images, blobs)
        broker = make_broker(amqp_url, grace=settings.grace)
        subscribe(broker, topology.IMAGE_FETCHED, handlers.on_image_fetched, publisher, prefetch=PREFETCH)
        subscribe(broker, topology.DOWNLOAD_DELAYED, handlers.on_download_delayed, publisher, prefetch=PREFETCH)
        subscribe(broker, topology.DOWNLOAD_FAILED, handlers.on_download_failed, publisher, prefetch=PREFETCH)
        await stack.enter_async_context(consuming(broker))
        log.info("storing")
        yield
