"""Publishing on a channel, as aiormq's `basic_publish` does it, without what it does for others: time-outs, and four copies of each body.

How a publish is numbered, confirmed, refused and returned is aiormq's own (its channel keeps the confirmations, and answers them).
"""

from __future__ import annotations

import asyncio
import struct
from functools import lru_cache
from typing import TYPE_CHECKING

import pamqp.constants
import pamqp.frame
from aiormq.abc import ChannelFrame
from aiormq.exceptions import ChannelInvalidStateError
from pamqp import commands as spec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiormq import Channel

    from shared.frames import Properties

_FRAME, _CONTENT = struct.Struct(">BHI"), struct.Struct(">HHQ")
_END = pamqp.constants.FRAME_END_CHAR


class Sender:
    """One channel, on which nobody else publishes."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._turn = asyncio.Lock()

    async def send(
        self, body: bytes, properties: Properties, *, exchange: str, routing_key: str, mandatory: bool = False, drain: bool = False
    ) -> None:
        """Returns when the broker has confirmed, or, on a channel without confirms, when the message is in the socket's buffer.

        With `drain` that buffer has room again before the next message gets its turn. Raises what aiormq raises: ChannelInvalidStateError
        and others when the connection is lost, DeliveryError when the broker refuses, PublishError when there is no queue for what is mandatory.
        """
        for confirmation in await self._write([(body, properties)], exchange, routing_key, mandatory=mandatory, drain=drain):
            # Shielded: on an answer to a publish that its caller has given up, aiormq's channel would break.
            await asyncio.shield(confirmation)

    async def send_all(
        self, messages: Sequence[tuple[bytes, Properties]], *, exchange: str, routing_key: str, mandatory: bool = False
    ) -> list[BaseException | None]:
        """As `send`, many in one go, on a channel with confirms: for each of them what `send` would have raised, or None.

        Raises that itself when none of them was sent.
        """
        confirmations = await self._write(messages, exchange, routing_key, mandatory=mandatory, drain=False)
        await asyncio.wait(confirmations)  # which leaves them alone when the caller gives up
        return [asyncio.CancelledError() if each.cancelled() else each.exception() for each in confirmations]

    async def _write(
        self, messages: Sequence[tuple[bytes, Properties]], exchange: str, routing_key: str, *, mandatory: bool, drain: bool
    ) -> list[asyncio.Future[object]]:
        """Each message's confirmation, on a channel with confirms."""
        channel = self._channel
        publish = _publish(channel.number, exchange, routing_key, mandatory)
        payload = b"".join([part for body, properties in messages for part in _parts(channel, body, properties, publish)])
        async with self._turn:  # publishes are numbered in the order in which they are written
            if channel.is_closed:
                raise ChannelInvalidStateError(f"{channel!r} closed")
            first = channel.delivery_tag + 1
            confirmations = [self._number(properties.message_id or "") for _, properties in messages] if channel.publisher_confirms else []
            drained = channel.create_future() if drain else None
            try:
                await channel.write_queue.put(ChannelFrame(payload=payload, should_close=False, drain_future=drained))
            except BaseException:
                # They were never sent: their numbers are the next ones'.
                for tag, confirmation in enumerate(confirmations, first):
                    channel.confirmations.pop(tag, None)
                    confirmation.cancel()
                channel.delivery_tag -= len(confirmations)
                raise
            if drained is not None:
                await drained
        return confirmations

    def _number(self, message_id: str) -> asyncio.Future[object]:
        channel = self._channel
        channel.delivery_tag += 1
        tag = channel.delivery_tag
        confirmation = channel.confirmations[tag] = channel.create_future()
        channel.message_id_delivery_tag[message_id] = tag  # a message that is returned is known by its id alone

        def forget(answered: asyncio.Future[object]) -> None:
            if not answered.cancelled():
                answered.exception()  # looked at, should its caller have given up
            if channel.message_id_delivery_tag.get(message_id) == tag:
                del channel.message_id_delivery_tag[message_id]

        confirmation.add_done_callback(forget)
        return confirmation


@lru_cache
def _publish(channel: int, exchange: str, routing_key: str, mandatory: bool) -> bytes:  # noqa: FBT001
    return pamqp.frame.marshal(spec.Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=mandatory), channel)


def _parts(channel: Channel, body: bytes, properties: Properties, publish: bytes) -> list[bytes | memoryview]:
    header = _CONTENT.pack(spec.Basic.frame_id, 0, len(body)) + properties.marshal()
    parts: list[bytes | memoryview] = [publish, _FRAME.pack(pamqp.constants.FRAME_HEADER, channel.number, len(header)), header, _END]
    whole, most = memoryview(body), channel.max_content_size
    for at in range(0, len(body), most):
        piece = whole[at : at + most]
        parts += (_FRAME.pack(pamqp.constants.FRAME_BODY, channel.number, len(piece)), piece, _END)
    return parts
