"""RabbitMQ, consuming: FastStream subscribers around plain handlers, and the one place that decides about acks.

A handler takes an event and returns what follows from it. Here its answer is published, confirmed, and only then is
the message acked: a crash in between repeats the step, and every step can be repeated.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from faststream import AckPolicy
from faststream.rabbit import Channel, ExchangeType, QueueType, RabbitBroker, RabbitExchange, RabbitMessage, RabbitQueue

from shared import events, topology
from shared.broker import AWAY, RECONNECT_SECONDS
from shared.errors import BrokerUnavailable, StoreUnavailable, Undecodable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from shared.broker import Publication, Publisher
    from shared.events import Event

    Handler = Callable[[Event], Awaitable[Sequence[Publication]]]

log = logging.getLogger("bowerbird.consumer")

EXCHANGE = RabbitExchange(topology.EXCHANGE, type=ExchangeType.TOPIC, durable=True)


def make_broker(url: str, *, grace: float) -> RabbitBroker:
    """A FastStream broker without its own decoding, validation and logging: events.py and this module do those.

    On stop it waits `grace` seconds for handlers that are at work; what they don't finish goes back to the queue.
    """
    return RabbitBroker(url, apply_types=False, logger=None, reconnect_interval=RECONNECT_SECONDS, graceful_timeout=grace)


def subscribe(broker: RabbitBroker, queue: topology.Queue, handle: Handler, publisher: Publisher, *, prefetch: int) -> None:
    """Has `handle` called for each message of a queue, `prefetch` of them at once."""
    source = RabbitQueue(
        queue.name, queue_type=QueueType.QUORUM, durable=True, routing_key=queue.routing_key or "", arguments=queue.arguments
    )

    async def consume(message: RabbitMessage) -> None:
        await settle(message, queue, handle, publisher)

    subscriber = broker.subscriber(
        source, EXCHANGE, channel=Channel(prefetch_count=prefetch), ack_policy=AckPolicy.MANUAL, decoder=_undecoded, no_reply=True
    )
    subscriber(consume)


@asynccontextmanager
async def consuming(broker: RabbitBroker) -> AsyncIterator[None]:
    """Consumes, from when RabbitMQ is there until the block ends; then finishes what is in hand."""
    try:
        while not await _started(broker):
            await asyncio.sleep(RECONNECT_SECONDS)
        yield
    finally:
        await broker.stop()


async def _started(broker: RabbitBroker) -> bool:
    try:
        await broker.start()
    except AWAY as error:
        log.warning("waiting for RabbitMQ", extra={"error": type(error).__name__})
        await broker.stop()
        return False
    return True


async def settle(message: RabbitMessage, queue: topology.Queue, handle: Handler, publisher: Publisher) -> None:
    """Handles a message and decides what becomes of it.

    Done: ack. No event of this queue: reject, to the dead letters. A fault of ours: once more, and if it fails again, to the dead
    letters. Cancelled: nothing; the broker redelivers. A server that is away is waited for, with the message in hand: putting
    it back would only bring it round again, and nearer to the delivery limit.
    """
    raw = message.raw_message
    try:
        event = events.decode(events.Envelope(raw.type, dict(raw.headers), raw.body, raw.content_type, raw.message_id, raw.correlation_id))
        if event.NAME != queue.routing_key:
            raise Undecodable(f"{event.NAME} has no place in {queue.name}")
        for publication in await _patiently(handle, event):
            await publisher.publish_surely(*publication)
        verdict = raw.ack()
    except Undecodable as error:
        log.error("not an event, so to the dead letters", extra={"queue": queue.name, "message_id": raw.message_id, "error": str(error)})
        verdict = raw.reject(requeue=False)
    except Exception:
        log.exception("handler failed", extra={"correlation": raw.correlation_id, "again": not raw.redelivered})
        verdict = raw.reject(requeue=not raw.redelivered)
    try:
        await verdict
    except AWAY as error:
        log.info("connection lost before the ack: will be redelivered", extra={"correlation": raw.correlation_id, "error": repr(error)})


async def _patiently(handle: Handler, event: Event) -> Sequence[Publication]:
    pause = 0.2
    while True:
        try:
            return await handle(event)
        except (BrokerUnavailable, StoreUnavailable) as error:
            log.warning("waiting", extra={"image": event.image, "correlation": event.correlation_id, "error": str(error)})
        await asyncio.sleep(pause)
        pause = min(2 * pause, 5.0)


async def _undecoded(message: RabbitMessage) -> RabbitMessage:
    return message
