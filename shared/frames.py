"""AMQP's frames as aiormq and pamqp read and write them, for less: the few kinds that make up nearly all of the traffic.

aiormq awaits four times for each frame, and pamqp finds out how to decode each field by the name of its type. Here a frame is cut out of whatever
has come, and a delivery, a confirm and the properties of a message are decoded and encoded in place (AMQP 0-9-1, sections 4.2.3 to 4.2.6; field
tables as RabbitMQ has them: www.rabbitmq.com/amqp-0-9-1-errata). Everything else is pamqp's, as before; what it gave: docs/performance.md.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import aiormq.connection
import pamqp.encode
import pamqp.frame
from aiormq.exceptions import AMQPConnectionError, InvalidFrameError
from pamqp import commands as spec
from pamqp.body import ContentBody
from pamqp.exceptions import PAMQPException
from pamqp.header import ContentHeader

if TYPE_CHECKING:
    from pamqp.common import FieldTable
    from pamqp.frame import FrameTypes

READ_BYTES = 1024**2

_FRAME, _CONTENT = struct.Struct(">BHI"), struct.Struct(">HHQH")
_U8, _U32, _U64, _I64 = struct.Struct(">B"), struct.Struct(">I"), struct.Struct(">Q"), struct.Struct(">q")
_METHOD, _HEADER, _BODY, _END = 1, 2, 3, 0xCE
_DELIVER, _ACK = spec.Basic.Deliver.index, spec.Basic.Ack.index
_TEXT, _TRUE_OR_FALSE = ord("S"), ord("t")
_INTEGERS = {ord(code): struct.Struct(f">{form}") for code, form in (("b", "b"), ("s", "h"), ("u", "H"), ("I", "i"), ("i", "I"), ("l", "q"))}

# The flags of the properties that our messages have, the first being that of the property that comes first (section 4.2.6.1).
_CONTENT_TYPE, _HEADERS, _DELIVERY_MODE, _CORRELATION_ID = 1 << 15, 1 << 13, 1 << 12, 1 << 10
_EXPIRATION, _MESSAGE_ID, _TYPE = 1 << 8, 1 << 7, 1 << 5
_OURS = _CONTENT_TYPE | _HEADERS | _DELIVERY_MODE | _CORRELATION_ID | _EXPIRATION | _MESSAGE_ID | _TYPE


class Frames(aiormq.connection.FrameReceiver):
    """What a connection receives, frame by frame."""

    _data = b""
    _at = 0

    async def get_frame(self) -> tuple[int, int, FrameTypes]:
        """The next frame: its size, channel and content. Raises AMQPConnectionError, InvalidFrameError, StopAsyncIteration, as aiormq's own does."""
        if not self.started:
            return await super().get_frame()  # the greeting, which may be none
        while (frame := self._next()) is None:
            ended = self.reader.at_eof()
            try:
                more = await self.reader.read(READ_BYTES)
            except OSError as error:
                raise AMQPConnectionError(f"Server connection error: {error!r}") from error
            if not more:
                if ended and not self._data:
                    raise StopAsyncIteration
                raise AMQPConnectionError("Server connection unexpectedly closed.")
            self._data, self._at = self._data[self._at :] + more, 0
        return frame

    def _next(self) -> tuple[int, int, FrameTypes] | None:
        data, begin = self._data, self._at
        if len(data) < begin + _FRAME.size:
            return None
        kind, channel, size = _FRAME.unpack_from(data, begin)
        begin += _FRAME.size
        end = begin + size
        if len(data) <= end:
            return None
        if data[end] != _END:
            raise InvalidFrameError("A frame doesn't end where it says.")
        self._at = end + 1
        try:
            if kind == _BODY:
                return size, channel, ContentBody(data[begin:end])
            found: FrameTypes | None = None
            if kind == _METHOD:
                found = _method(data, begin, end)
            elif kind == _HEADER:
                found = _header(data, begin, end)
            if found is None:
                _, _, found = pamqp.frame.unmarshal(data[begin - _FRAME.size : end + 1])
        except (PAMQPException, ValueError, IndexError, struct.error) as error:
            raise InvalidFrameError(str(error)) from error
        return size, channel, found


class Properties(spec.Basic.Properties):
    """The properties of a message that is published."""

    def marshal(self) -> bytes:
        """As they go into a content header. Raises TypeError for what doesn't fit there."""
        flags, parts = _DELIVERY_MODE, []
        if self.content_type is not None:
            flags |= _CONTENT_TYPE
            parts.append(_short(self.content_type))
        if self.headers:
            flags |= _HEADERS
            parts.append(_table(self.headers))
        parts.append(_U8.pack(self.delivery_mode or 1))
        for flag, text in (
            (_CORRELATION_ID, self.correlation_id), (_EXPIRATION, self.expiration), (_MESSAGE_ID, self.message_id), (_TYPE, self.message_type),
        ):  # fmt: skip
            if text is not None:
                flags |= flag
                parts.append(_short(text))
        return b"".join((flags.to_bytes(2, "big"), *parts))


def _method(data: bytes, at: int, end: int) -> spec.Basic.Deliver | spec.Basic.Ack | None:
    (index,) = _U32.unpack_from(data, at)
    at += 4
    if index == _DELIVER:
        consumer_tag, at = _read_short(data, at)
        (delivery_tag,) = _U64.unpack_from(data, at)
        redelivered = data[at + 8]
        exchange, at = _read_short(data, at + 9)
        routing_key, at = _read_short(data, at)
        return spec.Basic.Deliver(consumer_tag, delivery_tag, bool(redelivered & 1), exchange, routing_key) if at == end else None
    if index == _ACK and at + 9 == end:
        return spec.Basic.Ack(_U64.unpack_from(data, at)[0], bool(data[at + 8] & 1))
    return None


def _header(data: bytes, at: int, end: int) -> ContentHeader | None:
    class_id, weight, body_size, flags = _CONTENT.unpack_from(data, at)
    if flags & ~_OURS:
        return None
    at += _CONTENT.size
    properties = Properties()
    if flags & _CONTENT_TYPE:
        properties.content_type, at = _read_short(data, at)
    if flags & _HEADERS:
        (size,) = _U32.unpack_from(data, at)
        properties.headers = _read_table(data, at + 4, at + 4 + size) if at + 4 + size <= end else None
        if properties.headers is None:
            return None
        at += 4 + size
    if flags & _DELIVERY_MODE:
        properties.delivery_mode = data[at]
        at += 1
    if flags & _CORRELATION_ID:
        properties.correlation_id, at = _read_short(data, at)
    if flags & _EXPIRATION:
        properties.expiration, at = _read_short(data, at)
    if flags & _MESSAGE_ID:
        properties.message_id, at = _read_short(data, at)
    if flags & _TYPE:
        properties.message_type, at = _read_short(data, at)
    if at != end:
        return None
    header = ContentHeader(weight, body_size, properties)
    header.class_id = class_id
    return header


def _read_short(data: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + data[at]
    return data[at + 1 : end].decode(), end


def _read_table(data: bytes, at: int, end: int) -> FieldTable | None:
    """None for one that is odd: what it is pamqp will say."""
    table: dict[str, Any] = {}
    while at < end:
        name, at = _read_short(data, at)
        kind = data[at]
        at += 1
        if kind == _TEXT:
            (size,) = _U32.unpack_from(data, at)
            at += 4 + size
            try:
                table[name] = data[at - size : at].decode()
            except UnicodeDecodeError:
                return None
        elif form := _INTEGERS.get(kind):
            (table[name],) = form.unpack_from(data, at)
            at += form.size
        elif kind == _TRUE_OR_FALSE:
            table[name] = bool(data[at])
            at += 1
        else:
            return None
    return table if at == end else None


def _short(text: str) -> bytes:
    data = text.encode()
    if len(data) > 255:  # noqa: PLR2004  (what one byte can say)
        raise TypeError(f"{text[:40]!r}... has {len(data)} bytes, and AMQP has room for 255.")
    return _U8.pack(len(data)) + data


def _table(table: FieldTable) -> bytes:
    parts = []
    for name, value in table.items():
        parts.append(_short(name))
        if isinstance(value, str):
            data = value.encode()
            parts += (b"S", _U32.pack(len(data)), data)
        elif isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63:
            parts += (b"l", _I64.pack(value))
        else:
            parts.append(pamqp.encode.encode_table_value(value))
    data = b"".join(parts)
    return _U32.pack(len(data)) + data


# aiormq has no word for it.
aiormq.connection.FrameReceiver = Frames  # type: ignore[misc]
