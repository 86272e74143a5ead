"""The channels of the AsyncAPI document: the exchange's routing keys, and the queues with what their arguments mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.api.reference.messages import AMQP_BINDING
from shared import events, topology

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.api.reference.operations import Json

MIB = 1024 * 1024


def channels(delays: tuple[float, ...]) -> Json:
    """The channel objects, by their addresses. `delays`, in seconds, are those of the settings."""
    keys = {kind.NAME: _routing_key(kind) for kind in events.KINDS}
    return keys | {queue.name: _queue(queue) for queue in topology.queues(delays)}


def delays_of(queue: topology.Queue, delays: Iterable[float]) -> list[topology.Queue]:
    """The queues in which a message of another waits."""
    return [topology.delay_queue(queue, delay) for delay in ((topology.PARTS_DELAY,) if queue is topology.IMAGE_FETCHED else delays)]


def carried(channel: str) -> list[str]:
    """The names of the events that a channel carries; everything can be a dead letter, and things that are no event."""
    if channel == topology.DEAD_LETTERS:
        return [queue.routing_key for queue in topology.WORK if queue.routing_key]
    return [next(kind.NAME for kind in events.KINDS if kind.NAME in channel)]


def _routing_key(kind: type[events.Event]) -> Json:
    reader = next((queue.name for queue in topology.WORK if queue.routing_key == kind.NAME), None)
    exchange = {"name": topology.EXCHANGE, "type": "topic", "durable": True, "autoDelete": False}
    description = (
        f"Bound to `{reader}`; to publish it without that queue is an error."
        if reader
        else "Bound to no lasting queue: only who listens at that moment hears it."
    )
    return {
        "address": kind.NAME, "title": f"The routing key {kind.NAME}", "description": description, "messages": _messages(kind.NAME),
        "bindings": {"amqp": {"is": "routingKey", "exchange": exchange, "bindingVersion": AMQP_BINDING}},
    }  # fmt: skip


def _queue(queue: topology.Queue) -> Json:
    bound = [{"exchange": topology.EXCHANGE, "routingKey": queue.routing_key}] if queue.routing_key else []
    described = {"name": queue.name, "durable": True, "exclusive": False, "autoDelete": False}
    return {
        "address": queue.name, "title": f"The queue {queue.name}", "description": _promise(queue), "messages": _messages(queue.name),
        "bindings": {
            "amqp": {"is": "queue", "queue": described, "x-arguments": queue.arguments, "x-bound-to": bound, "bindingVersion": AMQP_BINDING},
        },
    }  # fmt: skip


def _messages(channel: str) -> Json:
    return {name: {"$ref": f"#/components/messages/{name}"} for name in carried(channel)}


def _promise(queue: topology.Queue) -> str:
    """What a queue's arguments mean for its messages."""
    of = queue.arguments
    target = of.get("x-dead-letter-routing-key")
    if "x-message-ttl" in of:
        return f"Holds each message for {of['x-message-ttl'] / 1000:g} s, or less when the message's own expiration says so, and returns it to `{target}`."
    if target is None:
        return (
            "Without a limit: nothing is dropped from here. The storer moves each message to MongoDB, where it stays until somebody replays or deletes it "
            "(`GET /dead-letters`)."
        )
    return (
        f"Holds up to {of['x-max-length']:,} messages or {of['x-max-length-bytes'] // MIB:,} MiB. A full queue refuses, and who publishes tries again. Acked "
        f"when what follows from it is durable. What can't be processed, or was delivered {of['x-delivery-limit']} times without an ack, goes to `{target}`."
    )
