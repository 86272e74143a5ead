"""Dispatcher, relay and lease on a real MongoDB and RabbitMQ: what is recorded gets published."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from pymongo import UpdateOne

from services.api.relay import PAGE, Relay
from shared import topology, urls
from shared.broker import Publisher
from shared.dispatch import IN_FLIGHT, MARK_SECONDS, MARKED_AFTER, PATIENCE, RELAYED_AFTER, Dispatcher
from shared.errors import BrokerUnavailable
from shared.image import Addition
from shared.leases import Lease
from tests.api import taken
from tests.polling import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from shared.catalog import Catalog
    from shared.events import DownloadRequested
    from shared.image import Image
    from shared.mongo import Mongo

pytestmark = pytest.mark.anyio

QUEUE = topology.DOWNLOAD_REQUESTED.name
NOW = timedelta(0)


@pytest.fixture
async def publisher(amqp_url: str) -> AsyncIterator[Publisher]:
    async with Publisher(amqp_url) as publisher:
        await publisher.wait()
        yield publisher


class Broken:
    """A publisher of which the first `confirms` messages are confirmed, and no other."""

    connected = True

    def __init__(self, confirms: int = 0) -> None:
        self.confirms = confirms
        self.tried = 0

    async def publish_all(self, requests: Sequence[DownloadRequested], _: object) -> list[BrokerUnavailable | None]:
        tried = range(self.tried, self.tried + len(requests))
        self.tried = tried.stop
        await asyncio.sleep(0)
        return [None if number < self.confirms else BrokerUnavailable("away") for number in tried]


async def added(catalog: Catalog, count: int) -> list[Image]:
    found = [urls.parse(f"https://example.org/{number}") for number in range(count)]
    images = await catalog.add([Addition(urls.image_id(url.href), url) for url in found])
    return [image for image in images if image]


async def left(catalog: Catalog) -> list[str]:
    images = await catalog.undispatched(before=datetime.now(UTC) + timedelta(minutes=1), limit=10_000)
    return [image.id for image in images]


async def test_what_is_dispatched_is_published_once_and_marked(catalog: Catalog, publisher: Publisher, amqp_url: str) -> None:
    images = await added(catalog, 300)
    async with Dispatcher(publisher, catalog, at_once=20) as dispatcher:
        for image in images:
            dispatcher.dispatch(image)

        async def all_marked() -> bool:
            return not await left(catalog)

        await until(all_marked)
    assert sorted(request.image for request in await taken(amqp_url, QUEUE)) == sorted(image.id for image in images)


async def test_what_is_asked_for_again_isnt_marked_by_the_request_before(catalog: Catalog) -> None:
    again, _ = await added(catalog, 2)
    requests = [image.request() for image in await catalog.undispatched(before=datetime.now(UTC) + timedelta(minutes=1), limit=2)]
    await catalog.settle([UpdateOne({"_id": again.id}, {"$set": {"revision": again.revision + 1}})])
    await catalog.dispatched(requests)
    assert await left(catalog) == [again.id]


async def test_what_the_broker_has_confirmed_is_marked_before_the_relay_looks(catalog: Catalog) -> None:
    images = await added(catalog, 5)
    async with Dispatcher(Broken(confirms=5), catalog) as dispatcher:  # type: ignore[arg-type]
        dispatcher.dispatch_all(images)

        async def marked() -> bool:
            return not await left(catalog)

        await until(marked)
    assert MARKED_AFTER + timedelta(seconds=MARK_SECONDS) < PATIENCE < RELAYED_AFTER


async def test_what_the_broker_refuses_stays_marked_as_not_dispatched(catalog: Catalog) -> None:
    images = await added(catalog, 50)
    broken = Broken(confirms=10)
    async with Dispatcher(broken, catalog, at_once=5) as dispatcher:  # type: ignore[arg-type]
        for image in images:
            dispatcher.dispatch(image)
        while dispatcher._workers:
            await asyncio.wait(dispatcher._workers)
    assert sorted(await left(catalog)) == sorted(image.id for image in images[10:])
    assert broken.tried <= 10 + 5 * IN_FLIGHT, "those behind the first refusal are not tried"


async def test_beyond_its_bound_it_keeps_nothing(catalog: Catalog) -> None:
    images = await added(catalog, 50)
    broken = Broken(confirms=1000)
    async with Dispatcher(broken, catalog, at_once=1, max_waiting=10) as dispatcher:  # type: ignore[arg-type]
        for image in images:
            dispatcher.dispatch(image)
        while dispatcher._workers:
            await asyncio.wait(dispatcher._workers)
    assert broken.tried == 10
    assert len(await left(catalog)) == 40


async def test_the_relay_publishes_what_stayed_behind(catalog: Catalog, publisher: Publisher, mongo: Mongo, amqp_url: str) -> None:
    images = await added(catalog, PAGE + 10)
    relay = Relay(catalog, publisher, Dispatcher(publisher, catalog), Lease(mongo, "relay", holder="a"), patience=NOW)
    await until(relay.round)
    assert await left(catalog) == []
    assert sorted(request.image for request in await taken(amqp_url, QUEUE)) == sorted(image.id for image in images)


async def test_the_relay_leaves_alone_what_a_dispatcher_may_be_publishing(catalog: Catalog, publisher: Publisher, mongo: Mongo) -> None:
    await added(catalog, 3)
    relay = Relay(catalog, publisher, Dispatcher(publisher, catalog), Lease(mongo, "relay", holder="a"), patience=timedelta(minutes=1))
    assert await relay.round() == 0
    assert len(await left(catalog)) == 3


async def test_the_relay_stops_at_the_first_refusal_and_marks_what_was_confirmed(catalog: Catalog, mongo: Mongo) -> None:
    await added(catalog, 100)
    broken = Broken(confirms=30)
    relay = Relay(catalog, broken, Dispatcher(broken, catalog, at_once=5), Lease(mongo, "relay", holder="a"), patience=NOW)  # type: ignore[arg-type]

    async def tried() -> int:
        return await relay.round() or broken.tried

    await until(tried)
    assert broken.tried <= 30 + 5
    assert len(await left(catalog)) == 70


async def test_of_two_relays_one_works(catalog: Catalog, publisher: Publisher, mongo: Mongo, amqp_url: str) -> None:
    await added(catalog, 500)
    relays = [Relay(catalog, publisher, Dispatcher(publisher, catalog), Lease(mongo, "relay", holder=name), patience=NOW) for name in "ab"]

    async def worked() -> bool:
        return any(await asyncio.gather(*(relay.round() for relay in relays)))

    await until(worked)
    assert await left(catalog) == []
    assert len(await taken(amqp_url, QUEUE)) == 500


async def test_a_lease_has_one_holder_until_it_is_given_back_or_runs_out(mongo: Mongo) -> None:
    first, second = Lease(mongo, "x", holder="$first", seconds=60), Lease(mongo, "x", holder="second", seconds=0.2)
    assert await first.hold()
    assert not await second.hold()
    assert await first.hold(), "renewed"
    await second.release()
    assert not await second.hold(), "what isn't held can't be given back"
    await first.release()
    assert await second.hold()
    await until(first.hold)


async def test_of_many_who_want_a_new_lease_at_once_one_gets_it(mongo: Mongo) -> None:
    leases = [Lease(mongo, "x", holder=str(number)) for number in range(20)]
    assert sum(await asyncio.gather(*(lease.hold() for lease in leases))) == 1
