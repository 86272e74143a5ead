"""RabbitMQ, publishing: with confirms, on a connection of its own (shared/consumer.py has the other side).

Two connections, because in a resource alarm the broker stops reading from those that publish, and acks sent on the
same one would wait with them.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, NamedTuple, Self

import aio_pika
from aio_pika.exceptions import AMQPError, PublishError

from shared import events, metrics, topology
from shared.errors import BrokerUnavailable, Unpublishable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from shared.events import Event

log = logging.getLogger("bowerbird.broker")

RECONNECT_SECONDS = 1.0
ANSWER_SECONDS = 10.0
ANNOUNCE_SECONDS = 1.0
OPEN_SECONDS = 15.0
BROKEN_TIMES = 5
LARGE_BODY = 1024**2
LARGEST_MESSAGE = 16 * 1024**2
LARGEST_MESSAGE_BEFORE_4 = 128 * 1024**2
HEADER_BYTES = 64 * 1024
"""More than the fields of any event take."""

# What aio-pika raises when the broker is away, refuses, or drops the connection; RuntimeError comes from channels of a
# connection that is being closed, StopAsyncIteration from one that is dropped in the middle of its greeting.
AWAY = (AMQPError, OSError, TimeoutError, RuntimeError, StopAsyncIteration)


class Publication(NamedTuple):
    """An event to publish; with `delay` (seconds, one of the configured ones) by way of that delay's queue.

    `wait`, in seconds, shortens the stay there.
    """

    event: Event
    delay: float | None = None
    wait: float | None = None


class Depth(NamedTuple):
    """How many messages wait in a queue, beside those that its consumers have in hand, and how many consumers it has."""

    queue: str
    messages: int
    consumers: int


class Publisher:
    """Publishes events. What `publish` returns from is confirmed by a majority of the broker's nodes, on disk."""

    def __init__(self, url: str, *, delays: Sequence[float] = ()) -> None:
        self._url = url
        self._delays = delays
        self._lost = asyncio.Event()
        self._connection: aio_pika.abc.AbstractConnection | None = None
        self._channel: aio_pika.abc.AbstractChannel | None = None
        self._exchange: aio_pika.abc.AbstractExchange | None = None
        self._unconfirmed: aio_pika.abc.AbstractExchange | None = None
        self._opened = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Begins to connect and returns at once: a publisher is of use (its owner can answer) before the broker is up."""
        self._keeping = asyncio.create_task(self._keep_open())
        metrics.CONNECTED.set_function(lambda: self.connected)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._keeping:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)

    @property
    def connected(self) -> bool:
        """Whether a publish can be tried now."""
        return self._exchange is not None

    async def wait(self) -> None:
        """Returns once connected, with everything declared."""
        await self._opened.wait()

    @property
    def max_body(self) -> int:
        """The largest body that the broker takes, in bytes, as far as its version tells: its max_message_size can't be asked for.

        16 MiB by default from RabbitMQ 4.0 on, 128 MiB before; a larger message closes the channel, and with it every
        publish that is under way.
        """
        transport = self._connection.transport if self._connection else None
        properties = getattr(transport and transport.connection, "server_properties", {})
        major = str(properties.get("version", "")).partition(".")[0]
        whole = LARGEST_MESSAGE_BEFORE_4 if major.isdecimal() and int(major) < 4 else LARGEST_MESSAGE  # noqa: PLR2004
        return whole - HEADER_BYTES

    async def publish(self, event: Event, delay: float | None = None, wait: float | None = None) -> None:
        """Returns once the broker has confirmed, for which it may take its time (a memory alarm holds publishers up).

        Raises BrokerUnavailable when it isn't there, goes away or refuses (a full queue), Unpublishable when the event is too large.
        """
        envelope = events.encode(event)
        if delay is not None:
            await self.send(envelope, topology.delay_name_of(event, delay), wait=wait)
        else:
            # An event that must be read and has no queue is an error; one for whoever listens may have no listener.
            await self._confirmed(envelope, self._exchange, event.NAME, mandatory=event.NAME in topology.READ)

    async def send(self, envelope: events.Envelope, queue: str, *, wait: float | None = None) -> None:
        """Publishes a message to one queue; it expires there after `wait` seconds. Raises BrokerUnavailable, as `publish`."""
        exchange = self._channel.default_exchange if self._channel else None
        await self._confirmed(envelope, exchange, queue, mandatory=True, wait=wait)

    async def _confirmed(
        self,
        envelope: events.Envelope,
        exchange: aio_pika.abc.AbstractExchange | None,
        routing_key: str,
        *,
        mandatory: bool,
        wait: float | None = None,
    ) -> None:
        if exchange is None or not self.connected:
            raise BrokerUnavailable("RabbitMQ isn't connected.")
        message = _message(envelope, wait)
        if len(envelope.body) > self.max_body:
            raise Unpublishable(f"{envelope.type} has {len(envelope.body):,} bytes, more than the {self.max_body:,} that RabbitMQ takes.")
        try:
            # No time limit: a confirm that is late isn't lost as long as the connection lives (heartbeats end one that doesn't), and
            # publishing again would add to whatever makes it late.
            # A dead letter that is replayed may have any type.
            with metrics.Timed(metrics.PUBLISHED, envelope.type if envelope.type in events.NAMES else "other"):
                await exchange.publish(message, routing_key, mandatory=mandatory)
        except PublishError as error:
            # Its queue is gone. Opened anew, everything is declared again.
            self._lost.set()
            raise BrokerUnavailable(f"{envelope.type} has no queue at the moment.") from error
        except AWAY as error:
            raise BrokerUnavailable(f"RabbitMQ didn't confirm {envelope.type} to {routing_key}: {type(error).__name__}") from error
        except asyncio.CancelledError as error:
            # A lost connection cancels what waits on it. When nobody cancelled this task, that is what it was.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise BrokerUnavailable(f"RabbitMQ went away before it confirmed {envelope.type}.") from error

    async def publish_surely(self, event: Event, delay: float | None = None, wait: float | None = None) -> None:
        """As `publish`, but tries until it is confirmed: for what would cost much to make again. A full queue slows its caller here.

        Raises Unpublishable when a large event breaks the connection each time: then the broker takes less than its version lets one think.
        """
        pause, broken = 0.1, 0
        while True:
            connection = self._lost if self.connected else None
            try:
                return await self.publish(event, delay, wait)
            except BrokerUnavailable as error:
                log.warning("will publish again", extra={"image": event.image, "error": str(error)})
            await asyncio.sleep(pause)
            pause = min(2 * pause, 5.0)
            broken += connection is not None and connection.is_set()
            if broken > BROKEN_TIMES and len(events.encode(event).body) > LARGE_BODY:
                raise Unpublishable(f"{event.NAME} breaks the connection to RabbitMQ: is it larger than its max_message_size?")

    async def announce(self, event: Event) -> None:
        """Publishes for whoever listens: once, unconfirmed, and within a moment.

        What waits for this must not wait for a broker that takes nothing, and a confirm for nobody would cost a storer a quarter of its time.
        """
        try:
            async with asyncio.timeout(ANNOUNCE_SECONDS):
                if self._unconfirmed is None:
                    raise BrokerUnavailable("RabbitMQ isn't connected.")
                await self._unconfirmed.publish(_message(events.encode(event)), event.NAME, mandatory=False)
        except (BrokerUnavailable, *AWAY) as error:
            log.warning("not announced", extra={"image": event.image, "announcement": event.NAME, "error": repr(error)})

    async def consumers(self, queue: topology.Queue) -> int:
        """How many consumers a queue has. Raises BrokerUnavailable."""
        [depth] = await self.depths([queue.name])
        return depth.consumers

    async def depths(self, queues: Sequence[str]) -> list[Depth]:
        """How full queues are, by their names. Raises BrokerUnavailable, also when one isn't there."""
        if not self.connected or self._connection is None:
            raise BrokerUnavailable("RabbitMQ isn't connected.")
        depths = []
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                # A channel of its own: asking for a queue that isn't there closes the channel.
                async with self._connection.channel(publisher_confirms=False) as channel:
                    for queue in queues:
                        found = (await channel.declare_queue(queue, passive=True)).declaration_result
                        depths.append(Depth(queue, found.message_count or 0, found.consumer_count or 0))
        except AWAY as error:
            raise BrokerUnavailable(f"RabbitMQ didn't answer about its queues: {type(error).__name__}") from error
        return depths

    async def _keep_open(self) -> None:
        """Connects, and connects again whenever the connection or its channel is lost, for ever.

        Not aio-pika's robust connection: nothing bounds the time that its restoring takes, and a channel that it restores doesn't
        know a topology that was wiped.
        """
        while True:
            try:
                await self._until_lost()
            except AWAY as error:
                log.warning("waiting for RabbitMQ", extra={"error": type(error).__name__})
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _until_lost(self) -> None:
        async with asyncio.timeout(OPEN_SECONDS) as opening, await aio_pika.connect(self._url) as self._connection:
            self._channel = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
            await topology.declare(self._channel, self._delays)
            lost = self._lost = asyncio.Event()
            # An error closes the channel and leaves the connection: either way this one is of no more use.
            self._channel.close_callbacks.add(lambda *_: lost.set())
            self._connection.close_callbacks.add(lambda *_: lost.set())
            try:
                unconfirmed = await self._connection.channel(publisher_confirms=False)
                unconfirmed.close_callbacks.add(lambda *_: lost.set())
                self._unconfirmed = await unconfirmed.get_exchange(topology.EXCHANGE, ensure=False)
                self._exchange = await self._channel.get_exchange(topology.EXCHANGE, ensure=False)
                opening.reschedule(None)
                self._opened.set()
                await lost.wait()
            finally:
                self._exchange = self._unconfirmed = None
                opening.reschedule(asyncio.get_running_loop().time() + OPEN_SECONDS)


def _message(envelope: events.Envelope, wait: float | None = None) -> aio_pika.Message:
    return aio_pika.Message(
        envelope.body,
        headers=envelope.headers,
        content_type=envelope.content_type,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        type=envelope.type,
        message_id=envelope.message_id,
        correlation_id=envelope.correlation_id,
        expiration=wait,
    )
