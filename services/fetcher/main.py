"""The fetcher's composition root: `bowerbird fetcher`."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from services.fetcher import descriptors
from services.fetcher.callbacks import PREFETCH, Callbacks
from services.fetcher.download import Downloader
from services.fetcher.handlers import Handlers
from services.fetcher.recognise import Recogniser
from shared import process, topology
from shared.broker import Publisher
from shared.consumer import consuming, make_broker, subscribe
from shared.minutes import Minutes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from shared.settings import Settings

log = logging.getLogger("bowerbird.fetcher")

DESCRIPTORS_FOR_EACH = 4
"""Open files for each download under way: its connection, those it tries at the same time, one that is kept for the next, and its body's file."""

OTHER_DESCRIPTORS = 100


def main() -> int:
    """Runs a fetcher until it is told to stop."""
    return process.run(fetcher)


@asynccontextmanager
async def fetcher(
    settings: Settings,
    *,
    downloader: Callable[[Settings], Downloader] = Downloader,
    caller: Callable[[Settings], Callbacks] = Callbacks,
) -> AsyncIterator[None]:
    """A fetcher at work, once RabbitMQ is there. It has no use for MongoDB, nor a way to it.

    `downloader` and `caller` make what it downloads and calls back with: tests give theirs another DNS.
    """
    amqp_url = settings.require("amqp_url")
    descriptors.raise_limit(DESCRIPTORS_FOR_EACH * settings.fetch_concurrency + OTHER_DESCRIPTORS)
    async with AsyncExitStack() as stack:
        publisher = await stack.enter_async_context(Publisher(amqp_url, delays=settings.retry_delays))
        await publisher.wait()
        downloads = await stack.enter_async_context(downloader(settings))
        recogniser = await stack.enter_async_context(Recogniser(settings))
        minutes = await stack.enter_async_context(Minutes(log))
        handlers = Handlers(downloads, recogniser, settings, publisher, minutes=minutes)
        broker = make_broker(amqp_url, grace=settings.grace)
        subscribe(broker, topology.DOWNLOAD_REQUESTED, handlers.on_download_requested, publisher, prefetch=settings.fetch_concurrency)
        if settings.webhook_secret:  # else callbacks wait in their queue for a fetcher that can sign them
            callbacks = await stack.enter_async_context(caller(settings))
            subscribe(broker, topology.CALLBACK_REQUESTED, callbacks.on_callback_requested, publisher, prefetch=PREFETCH)
        await stack.enter_async_context(consuming(broker, publisher))
        log.info("fetching")
        yield
