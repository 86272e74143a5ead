"""shared/broker.py and shared/consumer.py on a real RabbitMQ: what is confirmed arrives, and what becomes of each message."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import aio_pika
import pytest

from shared import dead_letters, events, topology
from shared.broker import HEADER_BYTES, LARGEST_MESSAGE, LARGEST_MESSAGE_BEFORE_4, Publication, Publisher
from shared.consumer import consuming, make_broker, subscribe
from shared.errors import BrokerUnavailable, Reason, StoreUnavailable
from tests.polling import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

pytestmark = pytest.mark.anyio

AT = datetime(2026, 1, 2, tzinfo=UTC)
DELAYS = (0.2, 1.0)


def request(image: str = "a", attempt: int = 1) -> events.DownloadRequested:
    return events.DownloadRequested(image=image, revision=1, attempt=attempt, url="http://a/", requested_at=AT)


def failure(image: str = "a") -> events.DownloadFailed:
    return events.DownloadFailed(image=image, revision=1, reason=Reason.DNS, detail="x", failed_at=AT, took_ms=250)


@pytest.fixture
async def publisher(amqp_url: str) -> AsyncIterator[Publisher]:
    async with Publisher(amqp_url, delays=DELAYS) as publisher:
        await publisher.wait()
        yield publisher


@pytest.fixture
async def channel(amqp_url: str, publisher: Publisher) -> AsyncIterator[aio_pika.abc.AbstractChannel]:  # noqa: ARG001  (it declares)
    """Another client's channel, on a broker where everything is declared."""
    async with await aio_pika.connect(amqp_url) as connection:
        yield await connection.channel()


async def take(channel: aio_pika.abc.AbstractChannel, queue: str) -> aio_pika.abc.AbstractIncomingMessage:
    """The next message of a queue, for good."""
    source = await channel.get_queue(queue, ensure=False)
    message = await until(lambda: source.get(fail=False))
    assert message
    await message.ack()
    return message


async def empty(channel: aio_pika.abc.AbstractChannel, queue: str) -> bool:
    declared = await channel.declare_queue(queue, passive=True)
    return declared.declaration_result.message_count == 0


def decoded(message: aio_pika.abc.AbstractIncomingMessage) -> events.Event:
    return events.decode(
        events.Envelope(message.type, dict(message.headers), message.body, message.content_type, message.message_id, message.correlation_id)
    )


@asynccontextmanager
async def reader(
    amqp_url: str, publisher: Publisher, handle: Callable[[events.Event], Awaitable[Sequence[Publication]]], *, prefetch: int = 10
) -> AsyncIterator[None]:
    broker = make_broker(amqp_url, grace=5)
    subscribe(broker, topology.DOWNLOAD_REQUESTED, handle, publisher, prefetch=prefetch)
    async with consuming(broker, publisher):
        yield


async def test_an_event_arrives_as_it_was_sent_and_persistent(publisher: Publisher, channel: aio_pika.abc.AbstractChannel) -> None:
    sent = events.ImageFetched(
        image="a", revision=1, url="http://a/", final_url="http://a/", fetched_at=datetime.now(UTC), took_ms=250, format="PNG",
        content_type="image/png", width=2**31, height=1, sha256="x", etag='W/"ä"', body=bytes(range(256)) * 1000,
    )  # fmt: skip
    await publisher.publish(sent)
    message = await take(channel, "storer.image-fetched")
    assert decoded(message) == sent
    assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
    assert message.body == sent.body


async def test_a_body_as_large_as_the_broker_takes_arrives(publisher: Publisher, channel: aio_pika.abc.AbstractChannel) -> None:
    assert publisher.max_body in {LARGEST_MESSAGE - HEADER_BYTES, LARGEST_MESSAGE_BEFORE_4 - HEADER_BYTES}
    sent = events.ImageFetched(
        image="a", revision=1, url="http://a/", final_url="http://a/", fetched_at=AT, took_ms=1, format="bmp", content_type="image/bmp",
        width=1, height=1, sha256="x", body=bytes(publisher.max_body),
    )  # fmt: skip
    await publisher.publish(sent)
    assert len((await take(channel, "storer.image-fetched")).body) == publisher.max_body


async def test_a_delayed_event_comes_back_to_the_fetchers_and_not_before(publisher: Publisher, channel: aio_pika.abc.AbstractChannel) -> None:
    started = time.monotonic()
    await publisher.publish(request("slow"), delay=1.0)
    await publisher.publish(request("shortened"), delay=0.2, wait=0.1)
    assert decoded(await take(channel, "fetcher.download-requested")).image == "shortened"
    assert time.monotonic() - started >= 0.1
    assert decoded(await take(channel, "fetcher.download-requested")).image == "slow"
    assert time.monotonic() - started >= 1.0


async def test_publishing_what_nobody_reads_is_an_error_and_what_anybody_may_read_is_not(
    publisher: Publisher, channel: aio_pika.abc.AbstractChannel
) -> None:
    await publisher.publish(events.ImageFailed(image="a", revision=1, reason=Reason.DNS, detail="x", failed_at=AT))
    await channel.queue_delete("storer.download-failed")
    with pytest.raises(BrokerUnavailable):
        await publisher.publish(failure())


async def test_a_full_queue_refuses_and_the_publisher_hears_it(publisher: Publisher, channel: aio_pika.abc.AbstractChannel) -> None:
    arguments = {**topology.DOWNLOAD_FAILED.arguments, "x-max-length": 1}
    await channel.queue_delete("storer.download-failed")
    queue = await channel.declare_queue("storer.download-failed", durable=True, arguments=arguments)
    await queue.bind(topology.EXCHANGE, "download-failed")

    async def refused() -> bool:
        try:
            await publisher.publish(failure())
        except BrokerUnavailable:
            return True
        return False

    await until(refused)


async def test_what_follows_is_published_before_the_message_is_acked(
    amqp_url: str, publisher: Publisher, channel: aio_pika.abc.AbstractChannel
) -> None:
    async def handle(event: events.Event) -> list[Publication]:
        return [Publication(failure(event.image)), Publication(request(event.image, 2), delay=1.0)] if event.attempt == 1 else []

    async with reader(amqp_url, publisher, handle):
        await publisher.publish(request("x"))
        assert decoded(await take(channel, "storer.download-failed")) == failure("x")
        assert decoded(await take(channel, "fetcher.download-requested.in-1s")).attempt == 2
        await until(lambda: empty(channel, "fetcher.download-requested"))


@pytest.mark.parametrize(
    "message",
    [
        aio_pika.Message(b"hello"),
        aio_pika.Message(b"{}", type="download-requested", headers={"v": 1}),
        aio_pika.Message(b"{}", type="download-requested", headers={"v": 2}),
        aio_pika.Message(events.encode(failure()).body, type="download-failed", headers={"v": 1}),
    ],
    ids=["not ours", "fields missing", "a version of the future", "an event that belongs elsewhere"],
)
async def test_what_is_no_event_of_the_queue_goes_to_the_dead_letters_and_the_reader_lives(
    amqp_url: str, publisher: Publisher, channel: aio_pika.abc.AbstractChannel, message: aio_pika.Message
) -> None:
    seen: list[str] = []

    async def handle(event: events.Event) -> list[Publication]:
        seen.append(event.image)
        return []

    async with reader(amqp_url, publisher, handle):
        await channel.default_exchange.publish(message, "fetcher.download-requested")
        await publisher.publish(request("good"))
        dead = await take(channel, topology.DEAD_LETTERS)
        assert dead.body == message.body
        assert dead.headers["x-first-death-queue"] == "fetcher.download-requested"
        await until(lambda: asyncio.sleep(0, seen == ["good"]))


async def test_a_handler_that_fails_is_tried_once_more_and_then_the_message_is_a_dead_letter(
    amqp_url: str, publisher: Publisher, channel: aio_pika.abc.AbstractChannel
) -> None:
    seen: list[str] = []

    async def handle(event: events.Event) -> list[Publication]:
        seen.append(event.image)
        if event.image == "bad" or seen.count(event.image) == 1:
            raise ZeroDivisionError
        return []

    async with reader(amqp_url, publisher, handle):
        await publisher.publish(request("bad"))
        await publisher.publish(request("unlucky"))
        assert decoded(await take(channel, topology.DEAD_LETTERS)).image == "bad"
        await until(lambda: empty(channel, "fetcher.download-requested"))
    assert sorted(seen) == ["bad", "bad", "unlucky", "unlucky"]
    assert await empty(channel, topology.DEAD_LETTERS)


async def test_while_a_server_is_away_the_message_is_kept_in_hand(amqp_url: str, publisher: Publisher, channel: aio_pika.abc.AbstractChannel) -> None:
    tries: list[bool] = []

    async def handle(_: events.Event) -> list[Publication]:
        tries.append(True)
        if len(tries) < 3:
            raise StoreUnavailable("away")
        return [Publication(failure())]

    async with reader(amqp_url, publisher, handle):
        await publisher.publish(request())
        await take(channel, "storer.download-failed")
        await until(lambda: empty(channel, "fetcher.download-requested"))
    assert len(tries) == 3


class Mute(Publisher):
    """A publisher to a broker that takes no announcement, as in a memory alarm."""

    async def publish(self, event: events.Event, delay: float | None = None, wait: float | None = None) -> None:
        if event.NAME not in topology.READ:
            await asyncio.Event().wait()
        await super().publish(event, delay, wait)


async def test_an_announcement_that_nobody_takes_holds_up_no_ack(amqp_url: str, publisher: Publisher, channel: aio_pika.abc.AbstractChannel) -> None:
    async def handle(event: events.Event) -> list[Publication]:
        return [Publication(events.ImageFailed(image=event.image, revision=1, reason=Reason.DNS, detail="x", failed_at=AT))]

    async with Mute(amqp_url) as mute:
        await mute.wait()
        async with reader(amqp_url, mute, handle):
            await publisher.publish(request())
            await until(lambda: empty(channel, "fetcher.download-requested"))
    assert await empty(channel, topology.DEAD_LETTERS)


async def test_from_the_dead_letters_nothing_is_ever_rejected(amqp_url: str, publisher: Publisher, channel: aio_pika.abc.AbstractChannel) -> None:
    tries: list[bool] = []

    async def handle(_: object) -> list[Publication]:
        tries.append(True)
        if len(tries) < 4:
            raise ZeroDivisionError
        return []

    broker = make_broker(amqp_url, grace=5)
    subscribe(broker, topology.DEAD, handle, publisher, prefetch=1, read=dead_letters.read, last_resort_pause=0.05)
    async with consuming(broker, publisher):
        await channel.default_exchange.publish(aio_pika.Message(b"hello"), topology.DEAD_LETTERS)
        await until(lambda: asyncio.sleep(0, len(tries) == 4))
        await until(lambda: empty(channel, topology.DEAD_LETTERS))


async def test_no_more_are_handled_at_once_than_the_prefetch(amqp_url: str, publisher: Publisher, channel: aio_pika.abc.AbstractChannel) -> None:
    gate = asyncio.Event()
    under_way = 0

    async def handle(_: events.Event) -> list[Publication]:
        nonlocal under_way
        under_way += 1
        await gate.wait()
        return []

    for number in range(10):
        await publisher.publish(request(str(number)))
    async with reader(amqp_url, publisher, handle, prefetch=3):
        await until(lambda: asyncio.sleep(0, under_way == 3))
        await publisher.publish(failure())  # time enough for a fourth to arrive, if it could
        assert under_way == 3
        gate.set()
        await until(lambda: empty(channel, "fetcher.download-requested"))


async def test_on_stop_what_is_in_hand_is_finished_and_the_rest_goes_back(
    amqp_url: str, publisher: Publisher, channel: aio_pika.abc.AbstractChannel
) -> None:
    gate, begun = asyncio.Event(), asyncio.Event()

    async def handle(event: events.Event) -> list[Publication]:
        begun.set()
        await gate.wait()
        return [Publication(failure(event.image))]

    async with reader(amqp_url, publisher, handle, prefetch=1):
        await publisher.publish(request("first"))
        await publisher.publish(request("second"))
        await begun.wait()
        asyncio.get_running_loop().call_later(0.2, gate.set)
    assert decoded(await take(channel, "storer.download-failed")).image == "first"
    assert decoded(await take(channel, "fetcher.download-requested")).image == "second"
    assert await empty(channel, "storer.download-failed")


async def test_consumers_are_counted(amqp_url: str, publisher: Publisher) -> None:
    assert await publisher.consumers(topology.DOWNLOAD_REQUESTED) == 0

    async def handle(_: events.Event) -> list[Publication]:
        return []

    async with reader(amqp_url, publisher, handle):
        assert await publisher.consumers(topology.DOWNLOAD_REQUESTED) == 1
