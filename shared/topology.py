"""Every exchange and queue, with its arguments and their reasons. Nothing else declares anything.

Queues are named `reader.event`, so that RabbitMQ's management UI explains itself. An event's routing key is its name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from shared import events

if TYPE_CHECKING:
    from collections.abc import Iterable

    import aio_pika.abc

EXCHANGE = "bowerbird"
DEAD_LETTERS = "dead-letters"

# A message that has crashed its consumer this often is no accident. Restarts and lost connections raise the
# count too, so it is far above what an unlucky message meets.
DELIVERY_LIMIT = 50

# An amount of images on their way that a broker's disk holds with ease and a storer works off in minutes.
FETCHED_MESSAGES = 20_000
FETCHED_BYTES = 1024**3


class Queue(msgspec.Struct, frozen=True):
    """A queue to declare; `routing_key` binds it to EXCHANGE, None leaves it to the default exchange."""

    name: str
    routing_key: str | None
    arguments: dict[str, Any]


def _durable(**more: Any) -> dict[str, Any]:  # noqa: ANN401  (AMQP table values)
    return {
        # Replicated and fsynced before the confirm: what is confirmed survives a broken node.
        "x-queue-type": "quorum",
        # A full queue refuses, and the publisher sees it, rather than drop what was accepted before.
        "x-overflow": "reject-publish",
        **more,
    }


def _dead_lettered_to(queue: str) -> dict[str, Any]:
    return {
        # "" is the default exchange, where the routing key is the queue's name.
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": queue,
        # The default strategy, at-most-once, loses a message if its target is full or away. This one needs reject-publish.
        "x-dead-letter-strategy": "at-least-once",
    }


def _work(kind: type[events.Event], reader: str, *, messages: int, size: int = FETCHED_BYTES) -> Queue:
    arguments = _durable(
        **_dead_lettered_to(DEAD_LETTERS),
        **{"x-delivery-limit": DELIVERY_LIMIT, "x-max-length": messages, "x-max-length-bytes": size},
    )
    return Queue(f"{reader}.{kind.NAME}", kind.NAME, arguments)


# Beyond this many, images wait in MongoDB, undispatched, until the relay finds room.
DOWNLOAD_REQUESTED = _work(events.DownloadRequested, "fetcher", messages=200_000)
IMAGE_PART = _work(events.ImagePart, "storer", messages=FETCHED_MESSAGES)
IMAGE_FETCHED = _work(events.ImageFetched, "storer", messages=FETCHED_MESSAGES)
IMAGE_UNCHANGED = _work(events.ImageUnchanged, "storer", messages=200_000)
PAGE_SCANNED = _work(events.PageScanned, "storer", messages=FETCHED_MESSAGES)
DOWNLOAD_DELAYED = _work(events.DownloadDelayed, "storer", messages=200_000)
DOWNLOAD_FAILED = _work(events.DownloadFailed, "storer", messages=200_000)
CALLBACK_REQUESTED = _work(events.CallbackRequested, "fetcher", messages=200_000)
CALLBACK_ATTEMPTED = _work(events.CallbackAttempted, "storer", messages=200_000)
# From here there is no further place: never drop. RabbitMQ 4.0 would after 20 deliveries, unless told otherwise.
DEAD = Queue(DEAD_LETTERS, None, _durable(**{"x-delivery-limit": 2**31 - 1}))


WORK = (
    DOWNLOAD_REQUESTED, IMAGE_PART, IMAGE_FETCHED, IMAGE_UNCHANGED, PAGE_SCANNED, DOWNLOAD_DELAYED, DOWNLOAD_FAILED,
    CALLBACK_REQUESTED, CALLBACK_ATTEMPTED,
)  # fmt: skip
RETRIED = (DOWNLOAD_REQUESTED, CALLBACK_REQUESTED)
"""The queues to which messages return after each of the configured delays."""

ANNOUNCEMENTS = (events.ImageStored, events.ImageFailed, events.ImageDelayed, events.PageExpanded)
"""For whoever listens, and nobody must."""

# What a listener that hangs for a while may leave with the broker; it learns that there was more.
ANNOUNCED_MESSAGES = 20_000
ANNOUNCED_BYTES = 32 * 1024**2

PARTS_DELAY = 5.0
"""Seconds that image-fetched waits for parts of its image that no storer has written yet."""


def delay_name(queue: str, delay: float) -> str:
    """The queue in which a message of another waits `delay` seconds: fetcher.download-requested.in-5s."""
    for unit, seconds in (("h", 3600), ("m", 60), ("s", 1)):
        if delay >= seconds and delay % seconds == 0:
            return f"{queue}.in-{int(delay // seconds)}{unit}"
    return f"{queue}.in-{int(delay * 1000)}ms"


def delay_queue(queue: Queue, delay: float) -> Queue:
    """A queue that holds its messages for `delay` seconds and then returns them to `queue`.

    One queue a delay: with a TTL on the message instead, a long delay at the head would hold back every shorter one behind it.
    """
    arguments = _durable(**_dead_lettered_to(queue.name), **{"x-message-ttl": int(delay * 1000)})
    return Queue(delay_name(queue.name, delay), None, arguments)


def delay_name_of(event: events.Event, delay: float) -> str:
    """The queue in which an event waits before it is read (again)."""
    return delay_name(next(queue.name for queue in WORK if queue.routing_key == event.NAME), delay)


def queues(delays: Iterable[float] = ()) -> list[Queue]:
    """All queues; the dead letters first, since others point at it."""
    waiting = [delay_queue(queue, delay) for delay in delays for queue in RETRIED]
    return [DEAD, *WORK, delay_queue(IMAGE_FETCHED, PARTS_DELAY), *waiting]


async def declare(channel: aio_pika.abc.AbstractChannel, delays: Iterable[float] = ()) -> None:
    """Declares everything; safe to repeat, by any service, in any order."""
    exchange = await channel.declare_exchange(EXCHANGE, "topic", durable=True)
    for queue in queues(delays):
        declared = await channel.declare_queue(queue.name, durable=True, arguments=queue.arguments)
        if queue.routing_key:
            await declared.bind(exchange, queue.routing_key)


class Listening(msgspec.Struct, frozen=True):
    """The names of a listener's queues: what is announced, and what tells that something had to be dropped from it."""

    heard: str
    dropped: str


async def declare_listener(channel: aio_pika.abc.AbstractChannel, listener: str, *, messages: int = ANNOUNCED_MESSAGES) -> Listening:
    """Queues for announcements, of this connection's own, that go when it does: exclusive, since RabbitMQ 4.3 refuses others that aren't durable.

    What nobody hears is worth nothing, so that the oldest goes first where there is too much.
    """
    exchange = await channel.declare_exchange(EXCHANGE, "topic", durable=True)
    names = Listening(listener, f"{listener}.dropped")
    await channel.declare_queue(names.dropped, exclusive=True, auto_delete=True, arguments={"x-max-length": 1})
    arguments: dict[str, Any] = {
        "x-max-length": messages, "x-max-length-bytes": ANNOUNCED_BYTES, "x-overflow": "drop-head",
        # What is dropped is dead-lettered: that there is any is all that is looked at.
        "x-dead-letter-exchange": "", "x-dead-letter-routing-key": names.dropped,
    }  # fmt: skip
    heard = await channel.declare_queue(names.heard, exclusive=True, auto_delete=True, arguments=arguments)
    for kind in ANNOUNCEMENTS:
        await heard.bind(exchange, kind.NAME)
    return names


READ = frozenset(queue.routing_key for queue in queues() if queue.routing_key)
"""The events that some service must read: publishing one of these without its queue is an error."""
