"""The fetcher's composition root: `bowerbird fetcher`."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from services.fetcher.download import Downloader
from services.fetcher.handlers import Handlers
from services.fetcher.recognise import Recogniser
from shared import process, topology
from shared.broker import Publisher
from shared.consumer import consuming, make_broker, subscribe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shared.settings import Settings

log = logging.getLogger("bowerbird.fetcher")


def main() -> int:
    """Runs a fetcher until it is told to stop."""
    return process.run(fetcher)


@asynccontextmanager
async def fetcher(settings: Settings) -> AsyncIterator[None]:
    """A fetcher at work, once RabbitMQ is there. It has no use for MongoDB, nor a way to it."""
    amqp_url = settings.require("amqp_url")
    async with AsyncExitStack() as stack:
        downloader = await stack.enter_async_context(Downloader(settings))
        recogniser = await stack.enter_async_context(Recogniser(settings))
        publisher = await stack.enter_async_context(Publisher(amqp_url, delays=settings.retry_delays))
        await publisher.wait()
        handlers = Handlers(downloader, recogniser, settings)
        broker = make_broker(amqp_url, grace=settings.grace)
        subscribe(broker, topology.DOWNLOAD_REQUESTED, handlers.on_download_requested, publisher, prefetch=settings.fetch_concurrency)
        await stack.enter_async_context(consuming(broker))
        log.info("fetching")
        yield
