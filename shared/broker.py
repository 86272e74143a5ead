"""RabbitMQ, publishing: with confirms, on a connection of its own (shared/consumer.py has the other side).

Two connections, because in a resource alarm the broker stops reading from those that publish, and acks sent on the
same one would wait with them.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from typing import TYPE_CHECKING, NamedTuple, Self, cast
from uuid import uuid4

import aio_pika
from aio_pika.exceptions import AMQPError, PublishError

from shared import events, frames, metrics, topology, tracing
from shared.absence import RABBITMQ
from shared.batching import Batcher
from shared.errors import BrokerUnavailable, Unpublishable
from shared.events import DownloadRequested
from shared.sending import Sender
from shared.telemetry import about

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    import aiormq

    from shared.events import Event

log = logging.getLogger("bowerbird.broker")

RECONNECT_SECONDS = 1.0
ANSWER_SECONDS = 10.0
ANNOUNCE_SECONDS = 1.0
ANNOUNCED_AT_ONCE = 64
LARGE_WRITE = 256 * 1024
DEFAULT_EXCHANGE = ""
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
        # aio-pika's channels are for what is done once; its way to publish, and aiormq's, cost several times what publishing takes.
        self._confirmed: Sender | None = None
        self._unconfirmed: Sender | None = None
        self._announcements: Batcher[tuple[Event, str | None], None] = Batcher(self._announce, max_items=ANNOUNCED_AT_ONCE)
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
        return self._confirmed is not None

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
            await self._confirm(envelope, topology.EXCHANGE, event.NAME, mandatory=event.NAME in topology.READ)

    async def send(self, envelope: events.Envelope, queue: str, *, wait: float | None = None) -> None:
        """Publishes a message to one queue; it expires there after `wait` seconds. Raises BrokerUnavailable, as `publish`."""
        await self._confirm(envelope, DEFAULT_EXCHANGE, queue, mandatory=True, wait=wait)

    async def _confirm(self, envelope: events.Envelope, exchange: str, routing_key: str, *, mandatory: bool, wait: float | None = None) -> None:
        if self._confirmed is None:
            raise BrokerUnavailable("RabbitMQ isn't connected.")
        if len(envelope.body) > self.max_body:
            raise Unpublishable(f"{envelope.type} has {len(envelope.body):,} bytes, more than the {self.max_body:,} that RabbitMQ takes.")
        try:
            # No time limit: a confirm that is late isn't lost as long as the connection lives (heartbeats end one that doesn't), and
            # publishing again would add to whatever makes it late.
            # A dead letter that is replayed may have any type.
            kind = envelope.type if envelope.type in events.NAMES else "other"
            with metrics.Timed(metrics.PUBLISHED, kind), tracing.publishing(envelope, exchange, routing_key):
                await self._confirmed.send(
                    envelope.body, _properties(envelope, wait), exchange=exchange, routing_key=routing_key, mandatory=mandatory,
                    # The next message needn't wait until this one is written, unless both are large: what is yet to be written is held twice.
                    drain=len(envelope.body) > LARGE_WRITE,
                )  # fmt: skip
        except AWAY as error:
            raise self._unconfirmed_of(envelope.type, error) from error
        except asyncio.CancelledError as error:
            # A lost connection cancels what waits on it. When nobody cancelled this task, that is what it was.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise self._unconfirmed_of(envelope.type, error) from error

    def _unconfirmed_of(self, kind: str | None, error: BaseException) -> BrokerUnavailable:
        if isinstance(error, PublishError):
            # Its queue is gone. Opened anew, everything is declared again.
            self._lost.set()
            return BrokerUnavailable(f"{kind} has no queue at the moment.")
        return BrokerUnavailable(f"RabbitMQ didn't confirm {kind}: {type(error).__name__}")

    async def publish_all(self, requests: Sequence[DownloadRequested], causes: Sequence[str | None]) -> list[BrokerUnavailable | None]:
        """As `publish`, many at once: for each what `publish` would have raised, or None. `causes` are what each follows from (shared/tracing.py).

        Each published for itself, they take a sixth of an api's time (docs/performance.md).
        """
        name, sender = DownloadRequested.NAME, self._confirmed
        if sender is None:
            return [BrokerUnavailable("RabbitMQ isn't connected.")] * len(requests)
        messages = []
        for request, cause in zip(requests, causes, strict=True):
            envelope = events.encode(request)
            with tracing.caused_by(cause), tracing.publishing(envelope, topology.EXCHANGE, name):
                messages.append((envelope.body, _properties(envelope)))
        began = time.perf_counter()
        try:
            outcomes = await sender.send_all(messages, exchange=topology.EXCHANGE, routing_key=name, mandatory=True)
        except AWAY as error:
            outcomes = [error] * len(messages)
        took = time.perf_counter() - began
        for outcome in outcomes:
            metrics.PUBLISHED[name, metrics.ERROR if outcome else metrics.SUCCESS].observe(took)
        return [self._unconfirmed_of(name, outcome) if outcome else None for outcome in outcomes]

    async def publish_surely(self, event: Event, delay: float | None = None, wait: float | None = None) -> None:
        """As `publish`, but tries until it is confirmed: for what would cost much to make again. A full queue slows its caller here.

        Raises Unpublishable when a large event breaks the connection each time: then the broker takes less than its version lets one think.
        """
        pause, broken = 0.1, 0
        while True:
            connection = self._lost if self.connected else None
            try:
                await self.publish(event, delay, wait)
            except BrokerUnavailable as error:
                RABBITMQ.noted(error)
                log.debug("to be published again", extra={**about(event), "type": event.NAME, "error": str(error)})
            else:
                return RABBITMQ.over()
            await asyncio.sleep(pause)
            pause = min(2 * pause, 5.0)
            broken += connection is not None and connection.is_set()
            if broken > BROKEN_TIMES and len(events.encode(event).body) > LARGE_BODY:
                raise Unpublishable(f"{event.NAME} breaks the connection to RabbitMQ: is it larger than its max_message_size?")

    async def announce(self, event: Event) -> None:
        """Publishes for whoever listens: once, unconfirmed, and within a moment.

        What waits for this must not wait for a broker that takes nothing, and a confirm for nobody would cost a storer a quarter of its time.
        """
        await self._announcements.add((event, tracing.cause()))

    async def _announce(self, announced: list[tuple[Event, str | None]]) -> list[None]:
        try:
            async with asyncio.timeout(ANNOUNCE_SECONDS):
                for left, (event, cause) in zip(range(len(announced) - 1, -1, -1), announced, strict=True):
                    if self._unconfirmed is None:
                        raise BrokerUnavailable("RabbitMQ isn't connected.")
                    envelope = events.encode(event)
                    with tracing.caused_by(cause), tracing.publishing(envelope, topology.EXCHANGE, event.NAME):
                        await self._unconfirmed.send(
                            envelope.body, _properties(envelope), exchange=topology.EXCHANGE, routing_key=event.NAME, drain=not left
                        )
        except (BrokerUnavailable, *AWAY) as error:
            RABBITMQ.noted(repr(error))
            for event, _ in announced:
                log.debug("not announced", extra={**about(event), "type": event.NAME, "error": repr(error)})
        else:
            RABBITMQ.over()
        return [None] * len(announced)

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
                RABBITMQ.noted(type(error).__name__)
            except Exception:
                # Nothing that waiting mends, such as a parameter of the URL that means nothing: whoever looks after the process should hear of it.
                log.exception("can't connect to RabbitMQ, and is stopping")
                signal.raise_signal(signal.SIGTERM)
                return
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
                self._unconfirmed = Sender(cast("aiormq.Channel", await unconfirmed.get_underlay_channel()))
                self._confirmed = Sender(cast("aiormq.Channel", await self._channel.get_underlay_channel()))
                opening.reschedule(None)
                self._opened.set()
                RABBITMQ.over()
                await lost.wait()
            finally:
                self._confirmed = self._unconfirmed = None
                opening.reschedule(asyncio.get_running_loop().time() + OPEN_SECONDS)


def _properties(envelope: events.Envelope, wait: float | None = None) -> frames.Properties:
    return frames.Properties(
        headers=envelope.headers,
        content_type=envelope.content_type,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        message_type=envelope.type,
        message_id=envelope.message_id or uuid4().hex,  # a dead letter that is replayed may have none
        correlation_id=envelope.correlation_id,
        expiration=None if wait is None else str(int(wait * 1000)),
    )
