"""Announcements, for whoever listens: heard on a queue of one's own, once, from when one listens (shared/topology.py).

Unlike what services do for one another (shared/consumer.py) nothing is kept for a listener that isn't there: one that has missed
something is told so, and looks at what is in MongoDB.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import aio_pika

from shared import events, topology
from shared.broker import AWAY, OPEN_SECONDS
from shared.errors import Undecodable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import aiormq.abc

    from shared.events import Event

log = logging.getLogger("bowerbird.announcements")

PREFETCH = 400
"""Enough to hide the acks' way there and back; the rest waits where it is bounded, in the broker."""
ACKED_AT_ONCE = 100


@asynccontextmanager
async def listening(
    url: str, listener: str, *, hear: Callable[[Event], None], missed: Callable[[], None], messages: int = topology.ANNOUNCED_MESSAGES
) -> AsyncIterator[asyncio.Event]:
    """Has `hear` called for what is announced within the block, in its order, and `missed` when some of it had to be dropped.

    What the block is given is set when the connection is lost, or the queue: nothing is heard from then on. `listener` names the queue,
    and must be unique. At most `messages` wait there. Raises whatever is in broker.AWAY when RabbitMQ can't be reached.
    """
    async with AsyncExitStack() as stack:
        async with asyncio.timeout(OPEN_SECONDS):
            connection = await aio_pika.connect(url, client_properties={"connection_name": listener})
            stack.push_async_callback(_close, connection)
            channel = await connection.channel(publisher_confirms=False)
            names = await topology.declare_listener(channel, listener, messages=messages)
            # aio-pika's own consumer makes a task and an object more of each message, twice the price of all the rest.
            raw = await channel.get_underlay_channel()
            lost = asyncio.Event()
            for losing in (connection.close_callbacks, channel.close_callbacks):
                losing.add(lambda *_: lost.set())
            raw.on_consumer_cancel_callbacks.add(lambda _: lost.set())
            await raw.basic_qos(prefetch_count=PREFETCH)
            await raw.basic_consume(names.dropped, lambda _: _done(missed), no_ack=True)
            await raw.basic_consume(names.heard, _Hearing(raw, hear, missed))
        yield lost


class _Hearing:
    """A consumer that acks many at once."""

    def __init__(self, channel: aiormq.abc.AbstractChannel, hear: Callable[[Event], None], missed: Callable[[], None]) -> None:
        self._channel = channel
        self._hear = hear
        self._missed = missed
        self._unacked = 0

    async def __call__(self, message: aiormq.abc.DeliveredMessage) -> None:
        properties = message.header.properties
        envelope = events.Envelope(
            properties.message_type, dict(properties.headers or {}), bytes(message.body), properties.content_type,
            properties.message_id, properties.correlation_id,
        )  # fmt: skip
        try:
            self._hear(events.decode(envelope))
        except Undecodable as error:
            log.debug("an announcement of another version", extra={"error": str(error)})
        except Exception:
            log.exception("an announcement could not be dealt with")
            self._missed()
        self._unacked += 1
        if self._unacked >= ACKED_AT_ONCE and message.delivery_tag is not None:
            self._unacked = 0
            await self._channel.basic_ack(message.delivery_tag, multiple=True)


async def _done(call: Callable[[], None]) -> None:
    call()


async def _close(connection: aio_pika.abc.AbstractConnection) -> None:
    try:
        async with asyncio.timeout(OPEN_SECONDS):
            await connection.close()
    except AWAY as error:
        log.debug("left without a word", extra={"error": repr(error)})
