"""Acks: many at once, since one for many messages gives broker and client no more work than one for each.

"All up to this one" (AMQP 0-9-1, section 1.8.3.13, multiple) may be said only when nothing before it is still in hand, which would be
lost with this process. What is done out of turn is acked by itself, so that no ack waits for a slow download.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.batching import Batcher
from shared.broker import AWAY

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import aio_pika.abc
    import aiormq.abc

    Message = aio_pika.abc.AbstractIncomingMessage

AT_ONCE = 1000


class Acks:
    """The acks of one consumer with a channel of its own: on it messages are numbered from 1, and after a lost connection from 1 again."""

    def __init__(self) -> None:
        self._channel: aiormq.abc.AbstractChannel | None = None
        self._settled: set[int] = set()
        self._first_in_hand = 1
        self._batcher: Batcher[Message, None] = Batcher(self._write, max_items=AT_ONCE, common=AWAY)

    async def add(self, message: Message) -> None:
        """Acks a message. Returns when that is on its way; raises what is in broker.AWAY when the connection is lost."""
        await self._batcher.add(message)

    async def reject(self, message: Message, *, requeue: bool) -> None:
        """Rejects a message, to the dead letters or back to the queue. Raises what is in broker.AWAY."""
        await message.reject(requeue=requeue)
        self._settle([message])  # only now: no ack of a later one may go before it, and take it along

    def _settle(self, messages: Iterable[Message]) -> None:
        for message in messages:
            if message.channel is not self._channel and not message.channel.is_closed:
                self._channel, self._settled, self._first_in_hand = message.channel, set(), 1
            if message.channel is self._channel:
                self._settled.add(_tag(message))
        while self._first_in_hand in self._settled:
            self._settled.remove(self._first_in_hand)
            self._first_in_hand += 1

    async def _write(self, messages: list[Message]) -> Sequence[Exception | None]:
        self._settle(messages)
        in_turn = {id(message): message for message in messages if message.channel is self._channel and _tag(message) < self._first_in_hand}
        error = await _ack(max(in_turn.values(), key=_tag), multiple=True) if in_turn else None
        return [error if id(message) in in_turn else await _ack(message) for message in messages]


async def _ack(message: Message, *, multiple: bool = False) -> Exception | None:
    try:
        # Nothing to wait for: it goes out with whatever is written next, and needs little room until then.
        await message.channel.basic_ack(_tag(message), multiple=multiple, wait=False)
    except AWAY as error:
        return error
    return None


def _tag(message: Message) -> int:
    if message.delivery_tag is None:
        raise TypeError
    return message.delivery_tag
