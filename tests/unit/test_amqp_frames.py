"""AMQP's frames: whatever is read or written here is what pamqp would read, however it is cut into pieces on the way."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import aiormq.connection
import pamqp.frame
import pytest
from aiormq.exceptions import AMQPConnectionError, InvalidFrameError
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands as spec
from pamqp.body import ContentBody
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat

from shared.frames import Frames, Properties

SHORT = st.text(max_size=60)
NAMES = st.from_regex(r"[a-z0-9_.-]{0,60}", fullmatch=True)
OUR_VALUES = st.text() | st.booleans() | st.integers(-(2**63), 2**63 - 1)
ANY_VALUES = st.recursive(
    OUR_VALUES | st.none() | st.floats(0, 1, width=32) | st.just(datetime(2026, 11, 22, tzinfo=UTC)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SHORT.filter(bool), inner, max_size=3),
    max_leaves=4,
)


def tables(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.text(min_size=1, max_size=30), values, max_size=6)


OUR_PROPERTIES: dict[str, st.SearchStrategy[Any]] = {
    "content_type": SHORT, "headers": tables(OUR_VALUES), "delivery_mode": st.sampled_from([1, 2]), "correlation_id": SHORT,
    "expiration": SHORT, "message_id": SHORT, "message_type": SHORT,
}  # fmt: skip
ANY_PROPERTIES = {
    **OUR_PROPERTIES, "headers": tables(ANY_VALUES), "priority": st.integers(0, 9), "reply_to": SHORT, "content_encoding": SHORT,
    "timestamp": st.just(datetime(2026, 11, 22, tzinfo=UTC)), "user_id": SHORT, "app_id": SHORT,
}  # fmt: skip
HEADERS = st.builds(
    ContentHeader,
    body_size=st.integers(0, 2**40),
    properties=st.fixed_dictionaries({}, optional=ANY_PROPERTIES).map(lambda p: spec.Basic.Properties(**p)),
)
DELIVERIES = st.builds(
    spec.Basic.Deliver,
    consumer_tag=NAMES, delivery_tag=st.integers(0, 2**63 - 1), redelivered=st.booleans(), exchange=NAMES, routing_key=SHORT,
)  # fmt: skip
CONFIRMS = st.builds(spec.Basic.Ack, delivery_tag=st.integers(0, 2**63 - 1), multiple=st.booleans())
OTHERS = st.sampled_from([Heartbeat(), spec.Queue.DeclareOk("q", 1, 2), spec.Channel.Close(404, "gone", 60, 40), spec.Basic.Nack(7)])
BODIES = st.builds(ContentBody, st.binary(min_size=1, max_size=300))


def content(frame: Any) -> Any:
    """What can be compared."""
    if isinstance(frame, ContentHeader):
        return frame.class_id, frame.weight, frame.body_size, dict(frame.properties)
    if isinstance(frame, ContentBody):
        return frame.value
    return type(frame), [] if isinstance(frame, Heartbeat) else list(frame)


async def read(pieces: list[bytes]) -> list[tuple[int, Any]]:
    """The frames in what arrives in these pieces after a greeting; the connection then ends."""
    reader = asyncio.StreamReader()
    frames = Frames(reader)
    greeting = pamqp.frame.marshal(spec.Connection.Tune(0, 131_072, 60), 0)
    reader.feed_data(greeting)
    assert content((await frames.get_frame())[2]) == content(spec.Connection.Tune(0, 131_072, 60))
    found: list[tuple[int, Any]] = []

    async def take() -> None:
        while True:
            _, channel, frame = await frames.get_frame()
            found.append((channel, frame))

    taking = asyncio.create_task(take())
    for piece in pieces:
        reader.feed_data(piece)
        await asyncio.sleep(0)
    reader.feed_eof()
    with pytest.raises((AMQPConnectionError, StopAsyncIteration, RuntimeError)):
        await taking
    return found


@given(st.lists(st.tuples(st.integers(1, 65_535), HEADERS | DELIVERIES | CONFIRMS | OTHERS | BODIES), max_size=8), st.integers(1, 400))
def test_frames_are_read_as_pamqp_reads_them_in_pieces_of_any_size(sent: list[tuple[int, Any]], size: int) -> None:
    frames = [(channel if not isinstance(frame, Heartbeat) else 0, pamqp.frame.marshal(frame, channel)) for channel, frame in sent]
    data = b"".join(frame for _, frame in frames)
    found = asyncio.run(read([data[at : at + size] for at in range(0, len(data), size)]))
    assert [channel for channel, _ in found] == [channel for channel, _ in frames]
    assert [content(frame) for _, frame in found] == [content(pamqp.frame.unmarshal(frame)[2]) for _, frame in frames]


@given(st.fixed_dictionaries({}, optional={**OUR_PROPERTIES, "headers": tables(OUR_VALUES | st.none())}))
def test_what_is_written_is_what_pamqp_reads(fields: dict[str, Any]) -> None:
    written = pamqp.frame.marshal(ContentHeader(body_size=5, properties=Properties(**fields)), 1)
    found = dict(pamqp.frame.unmarshal(written)[2].properties)  # type: ignore[union-attr]
    expected = {"delivery_mode": 1, **{name: value for name, value in fields.items() if value != {}}}
    assert {name: value for name, value in found.items() if value or name in expected} == expected


@pytest.mark.parametrize(
    "fields", [{"message_id": "m" * 256}, {"headers": {"h" * 256: 1}}, {"headers": {"number": 2**63}}, {"headers": {"thing": object()}}]
)
def test_what_amqp_has_no_room_for_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        Properties(**fields).marshal()


@pytest.mark.parametrize(
    "data",
    [
        b"\x01\x00\x01\x00\x00\x00\x0d\x00\x3c\x00\x50" + bytes(9) + b"\xcd",  # an ack that ends otherwise than with 0xCE
        b"\x01\x00\x01\x00\x00\x00\x05\x00\x3c\x00\x3c\xff\xce",  # a delivery whose consumer tag is longer than the frame
        b"\x01\x00\x01\x00\x00\x00\x05\x00\x3c\x00\x3c\x09\xce" + bytes(40),  # the same, where what follows would do for it
        b"\x02\x00\x01\x00\x00\x00\x03\x00\x3c\x00\xce",  # a header of three bytes
        b"\x09\x00\x01\x00\x00\x00\x01\x00\xce",  # a frame of no known type
        b"\x01\x00\x01\x00\x00\x00\x04\xff\xff\xff\xff\xce",  # a method that there isn't
    ],
)
def test_what_is_no_frame_ends_the_connection(data: bytes) -> None:
    async def found() -> None:
        reader = asyncio.StreamReader()
        frames = Frames(reader)
        frames.started = True
        reader.feed_data(data)
        await frames.get_frame()

    with pytest.raises(InvalidFrameError):
        asyncio.run(found())


def test_a_connection_that_ends_within_a_frame_is_lost() -> None:
    async def found() -> None:
        reader = asyncio.StreamReader()
        frames = Frames(reader)
        frames.started = True
        reader.feed_data(pamqp.frame.marshal(ContentBody(b"bytes"), 1)[:-1])
        reader.feed_eof()
        await frames.get_frame()

    with pytest.raises(AMQPConnectionError):
        asyncio.run(found())


def test_connections_read_so() -> None:
    assert aiormq.connection.FrameReceiver is Frames
