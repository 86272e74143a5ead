"""RabbitMQ, consuming: FastStream subscribers around plain handlers, and the one place that decides about acks.

A handler takes an event and returns what follows from it. Here its answer is published, confirmed, and only then is
the message acked: a crash in between repeats the step, and every step can be repeated.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

from faststream import AckPolicy
from faststream.rabbit import Channel, ExchangeType, QueueType, RabbitBroker, RabbitExchange, RabbitQueue

from shared import events, metrics, process, topology, tracing
from shared.absence import MONGODB, RABBITMQ
from shared.acks import Acks
from shared.broker import AWAY, OPEN_SECONDS, RECONNECT_SECONDS
from shared.errors import BrokerUnavailable, StoreUnavailable, Undecodable, Unusable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    import aio_pika.abc

    from shared.broker import Publication, Publisher

    Handler = Callable[[Any], Awaitable[Sequence[Publication]]]
    Reader = Callable[[events.Envelope], Any]

log = logging.getLogger("bowerbird.consumer")

WATCH_SECONDS = 5.0
LAST_RESORT_SECONDS = 5.0
WATCH_TIMES = 4
FIRST_PAUSE = 0.2
EXCHANGE = RabbitExchange(topology.EXCHANGE, type=ExchangeType.TOPIC, durable=True)


def make_broker(url: str, *, grace: float) -> RabbitBroker:
    """A FastStream broker without its own decoding, validation and logging: events.py and this module do those.

    On stop it waits `grace` seconds for handlers that are at work; what they don't finish goes back to the queue.
    """
    return RabbitBroker(url, apply_types=False, logger=None, reconnect_interval=RECONNECT_SECONDS, graceful_timeout=grace)


def subscribe(
    broker: RabbitBroker, queue: topology.Queue, handle: Handler, publisher: Publisher,
    *, prefetch: int, read: Reader | None = None, last_resort_pause: float = LAST_RESORT_SECONDS,
) -> None:  # fmt: skip
    """Has `handle` called for what each message of a queue carries, for `prefetch` of them at once.

    `read` turns a message into what `handle` takes, or raises Undecodable; unless given it expects the queue's event.
    `last_resort_pause` is the time, in seconds, until a dead letter that can't be handled is tried again.
    """
    arguments = cast("Any", queue.arguments)  # FastStream's type for them lists fewer than RabbitMQ has
    source = RabbitQueue(queue.name, queue_type=QueueType.QUORUM, durable=True, routing_key=queue.routing_key or "", arguments=arguments)
    reader = read or _event_of(queue)

    acks = Acks()

    async def consume(message: aio_pika.abc.AbstractIncomingMessage) -> None:
        began = time.perf_counter()
        status = await settle(message, reader, handle, publisher, acks, last_resort=last_resort_pause if queue is topology.DEAD else None)
        metrics.HANDLED[queue.name, status].observe(time.perf_counter() - began)

    # Without a routing key the queue is bound to the default exchange alone, as every queue is.
    exchange = EXCHANGE if queue.routing_key else RabbitExchange("")
    subscriber = broker.subscriber(source, exchange, channel=Channel(prefetch_count=prefetch), ack_policy=AckPolicy.MANUAL)
    handler = tracing.processing(consume, queue.name)
    subscriber(handler)

    async def straight_on(message: aio_pika.abc.AbstractIncomingMessage) -> None:
        if subscriber.running:
            with subscriber.lock:  # what FastStream counts as being in hand, and waits for when it stops
                await handler(message)

    # Of what FastStream does on the way from its consumer to a handler (contexts, middlewares, parsing, answers) there is nothing here to be done,
    # and it is a fifth of a storer's time.
    subscriber.consume = straight_on  # type: ignore[assignment,method-assign]


def _event_of(queue: topology.Queue) -> Reader:
    def read(envelope: events.Envelope) -> events.Event:
        event = events.decode(envelope)
        if queue.routing_key != event.NAME:
            raise Undecodable(f"{event.NAME} has no place in {queue.name}")
        metrics.waited(queue.name, event.since)
        return event

    return read


@asynccontextmanager
async def consuming(broker: RabbitBroker, publisher: Publisher) -> AsyncIterator[None]:
    """Consumes, from when RabbitMQ is there until the block ends; then finishes what is in hand.

    aio-pika restores connection and consumers by itself. Should it fail at that, silently, the process asks itself to stop: whoever looks after it starts it again.
    """
    try:
        while not await _started(broker):  # noqa: ASYNC110  (there is nothing to be told by)
            await asyncio.sleep(RECONNECT_SECONDS)
        async with process.beside(_watch(broker, publisher)):
            yield
    finally:
        await _stop(broker)


async def _started(broker: RabbitBroker) -> bool:
    try:
        async with asyncio.timeout(OPEN_SECONDS):
            await broker.start()
    except AWAY as error:
        RABBITMQ.noted(type(error).__name__)
        await _stop(broker)
        return False
    return True


async def _watch(broker: RabbitBroker, publisher: Publisher) -> None:
    """Ends the process when RabbitMQ is there, as the publisher knows, and yet a consumer is missing WATCH_TIMES times in a row."""
    missing = 0
    while missing < WATCH_TIMES:
        await asyncio.sleep(WATCH_SECONDS)
        missing = 0 if not publisher.connected or await _consumes_everything(broker) else missing + 1
    log.error("lost its consumers, and is stopping to be started again")
    signal.raise_signal(signal.SIGTERM)


async def _consumes_everything(broker: RabbitBroker) -> bool:
    try:
        async with asyncio.timeout(WATCH_SECONDS):
            for subscriber in broker.subscribers:
                # FastStream has no word for either.
                queue, tag = subscriber._queue_obj, subscriber._consumer_tag  # type: ignore[attr-defined]  # noqa: SLF001
                channel = await queue.channel.get_underlay_channel()
                if channel.is_closed or tag not in channel.consumers:
                    return False
    except AWAY:
        return False
    return True


async def _stop(broker: RabbitBroker) -> None:
    try:
        await broker.stop()
    except* AWAY as errors:
        # RabbitMQ left first, and FastStream then leaves its connection open, to be re-established; the second time it finds nothing to take leave of.
        log.info("stopped while RabbitMQ was away", extra={"error": repr(errors.exceptions[0])})
        await broker.stop()


async def settle(
    raw: aio_pika.abc.AbstractIncomingMessage, read: Reader, handle: Handler, publisher: Publisher, acks: Acks, *, last_resort: float | None = None
) -> str:
    """Handles a message and decides what becomes of it; returns that: acked, rejected or requeued.

    Done: ack. No event of this queue, or one of no use: reject, to the dead letters. A fault of ours: once more, and if it fails again, to the dead
    letters. Cancelled: nothing; the broker redelivers. A server that is away is waited for, with the message in hand: putting
    it back would only bring it round again, and nearer to the delivery limit. A queue that is the `last_resort` has no dead letters: from
    there everything goes back, after so many seconds.
    """
    try:
        envelope = events.Envelope(raw.type, dict(raw.headers), raw.body, raw.content_type, raw.message_id, raw.correlation_id)
        for publication in await _patiently(handle, read(envelope)):
            if publication.event.NAME in topology.READ:
                await publisher.publish_surely(*publication)
            else:
                await publisher.announce(publication.event)
        verdict, status = acks.add(raw), "acked"
    except (Undecodable, Unusable) as error:
        tracing.failed(error)
        log.warning("a message is of no use, and goes to the dead letters", extra={**_about(raw), "error": str(error)})
        verdict, status = acks.reject(raw, requeue=False), "rejected"
    except Exception as error:
        tracing.failed(error)
        again = last_resort is not None or not raw.redelivered
        log.exception("a handler failed", extra={**_about(raw), "again": again})
        if last_resort is not None:
            await asyncio.sleep(last_resort)
        verdict, status = acks.reject(raw, requeue=again), "requeued" if again else "rejected"
    try:
        await verdict
    except AWAY as error:
        log.debug("connection lost before the ack: the message comes again", extra={**_about(raw), "error": repr(error)})
        status = "requeued"
    return status


def _about(raw: aio_pika.abc.AbstractIncomingMessage) -> dict[str, str | None]:
    """Of a message that may be anybody's. Of ours, the correlation id is the image's and the revision, with a full stop between."""
    image = (raw.correlation_id or "").rpartition(".")[0] or None
    return {"image": image, "correlation": raw.correlation_id, "message_id": raw.message_id, "type": raw.type}


async def _patiently(handle: Handler, fact: object) -> Sequence[Publication]:
    pause = FIRST_PAUSE
    while True:
        try:
            followed = await handle(fact)
        except (BrokerUnavailable, StoreUnavailable) as error:
            (MONGODB if isinstance(error, StoreUnavailable) else RABBITMQ).noted(error)
        else:
            if pause > FIRST_PAUSE:
                MONGODB.over()
            return followed
        await asyncio.sleep(pause)
        pause = min(2 * pause, 5.0)
