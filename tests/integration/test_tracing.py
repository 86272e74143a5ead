"""Traces on real servers, where no request is there any more: the relay, refreshes, dead letters."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import aio_pika
import pytest

from services.api.relay import Relay
from shared import topology, tracing
from shared.broker import Publisher
from shared.dispatch import Dispatcher
from shared.image import Addition
from shared.leases import Lease
from shared.status import Status, now
from shared.urls import image_id, parse
from tests.polling import until
from tests.recording import linked, recording, text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shared.catalog import Catalog
    from shared.mongo import Mongo

pytestmark = pytest.mark.anyio

URL = parse("https://example.org/a")
PUBLISHED = "publish bowerbird:download-requested"


@pytest.fixture
async def publisher(amqp_url: str) -> AsyncIterator[Publisher]:
    async with Publisher(amqp_url) as publisher:
        await publisher.wait()
        yield publisher


@pytest.fixture
def relay(catalog: Catalog, publisher: Publisher, mongo: Mongo) -> Relay:
    return Relay(catalog, publisher, Dispatcher(publisher, catalog), Lease(mongo, "relay", holder="a"), patience=timedelta(0))


async def header(amqp_url: str) -> object:
    """Of the first message for the fetchers."""
    async with await aio_pika.connect(amqp_url) as connection:
        queue = await (await connection.channel()).get_queue(topology.DOWNLOAD_REQUESTED.name)
        return (await queue.get(no_ack=True)).headers.get("traceparent")


async def test_what_the_relay_publishes_continues_the_trace_of_who_submitted_it(catalog: Catalog, relay: Relay, amqp_url: str) -> None:
    with recording() as recorded:
        with tracing.step("POST"):
            await catalog.add([Addition(image_id(URL.href), URL, trace=tracing.cause())])
        await until(relay.round)
        post, published = recorded.one("POST"), recorded.one(PUBLISHED)
        assert published.parent
        assert post.context
        assert published.parent.span_id == post.context.span_id
        assert await header(amqp_url) == text(published)


async def test_what_is_requeued_links_to_who_asked(catalog: Catalog, relay: Relay) -> None:
    with recording() as recorded:
        with tracing.step("POST"):
            await catalog.add([Addition(image_id(URL.href), URL, trace=tracing.cause())])
        with tracing.step("requeue"):
            await catalog.requeue(Status.QUEUED, limit=1, before=now() + timedelta(seconds=1))
        await until(relay.round)
        published, asked = recorded.one(PUBLISHED), recorded.one("requeue").context
        assert asked
        assert (published.parent, linked(published)) == (None, [asked.span_id])


async def test_a_refresh_while_traces_are_off_leaves_no_old_trace(catalog: Catalog) -> None:
    await catalog.add([Addition(image_id(URL.href), URL, trace="00-" + "1" * 32 + "-" + "1" * 16 + "-01")])
    await catalog.requeue(Status.QUEUED, limit=1, before=now() + timedelta(seconds=1))
    found = await catalog.get(image_id(URL.href))
    assert found
    assert found.trace is None


async def test_while_off_messages_and_documents_have_nothing_of_it(catalog: Catalog, relay: Relay, mongo: Mongo, amqp_url: str) -> None:
    await catalog.add([Addition(image_id(URL.href), URL, trace=tracing.cause())])
    await until(relay.round)
    document = await mongo["images"].find_one({})
    assert document
    assert "trace" not in document
    assert await header(amqp_url) is None
