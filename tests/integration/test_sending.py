"""shared/sending.py on a real RabbitMQ: every publish has its own confirm, whatever becomes of the others."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, cast

import aio_pika
import pytest
from aiormq.exceptions import ChannelInvalidStateError, DeliveryError, PublishError

from shared.frames import Properties
from shared.sending import Sender

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiormq

pytestmark = pytest.mark.anyio

SMALL, FRAME = 300, 131_072 - 8
SIZES = (0, 1, SMALL, FRAME - 1, FRAME, FRAME + 1, 3 * FRAME)
ROOM = 3


@pytest.fixture
async def channel(amqp_url: str) -> AsyncIterator[aio_pika.abc.AbstractChannel]:
    async with await aio_pika.connect(amqp_url) as connection:
        yield await connection.channel(publisher_confirms=True, on_return_raises=True)


@pytest.fixture
async def sender(channel: aio_pika.abc.AbstractChannel) -> Sender:
    return Sender(cast("aiormq.Channel", await channel.get_underlay_channel()))


@pytest.fixture
async def queue(channel: aio_pika.abc.AbstractChannel) -> aio_pika.abc.AbstractQueue:
    return await channel.declare_queue("sent", durable=True)


async def ids(queue: aio_pika.abc.AbstractQueue) -> list[str | None]:
    found = []
    while message := await queue.get(fail=False, no_ack=True):
        found.append(message.message_id)
    return found


async def send(sender: Sender, number: int, *, to: str = "sent", size: int = SMALL, drain: bool = False) -> None:
    await sender.send(
        bytes(size), Properties(message_id=str(number), headers={"number": number}), exchange="", routing_key=to, mandatory=True, drain=drain
    )


async def send_all(sender: Sender, count: int, *, to: str = "sent") -> list[BaseException | None]:
    messages = [(bytes(SMALL), Properties(message_id=str(number))) for number in range(count)]
    return await sender.send_all(messages, exchange="", routing_key=to, mandatory=True)


@pytest.mark.parametrize("drain", [False, True])
@pytest.mark.parametrize("size", SIZES)
async def test_a_message_of_any_size_arrives_as_it_was_sent(sender: Sender, queue: aio_pika.abc.AbstractQueue, size: int, drain: bool) -> None:  # noqa: FBT001
    body = random.Random(size).randbytes(size)
    properties = Properties(
        content_type="image/jpeg", delivery_mode=2, message_id="m", correlation_id="c", message_type="t", headers={"ä": "ö", "n": -5, "yes": True}
    )
    await sender.send(body, properties, exchange="", routing_key="sent", mandatory=True, drain=drain)
    message = await queue.get(no_ack=True)
    assert (message.body, message.content_type, message.message_id, message.correlation_id) == (body, "image/jpeg", "m", "c")
    assert (message.type, message.delivery_mode, dict(message.headers)) == ("t", aio_pika.DeliveryMode.PERSISTENT, {"ä": "ö", "n": -5, "yes": True})


async def test_each_of_many_is_answered_for_itself(sender: Sender, queue: aio_pika.abc.AbstractQueue) -> None:
    """Some of them find no queue, some are given up by their callers, before or after they were written: the others' confirms aren't theirs."""
    chance = random.Random(7)
    tasks = {}
    for number in range(600):
        tasks[number] = asyncio.create_task(send(sender, number, to="sent" if number % 3 else "nowhere", size=chance.choice((SMALL, FRAME + 1))))
        if chance.random() < 0.2:
            await asyncio.sleep(0)
        if chance.random() < 0.2:
            tasks[chance.randrange(number + 1)].cancel()
    outcomes = dict(zip(tasks, await asyncio.gather(*tasks.values(), return_exceptions=True), strict=True))
    confirmed = {number for number, outcome in outcomes.items() if outcome is None}
    given_up = {number for number, outcome in outcomes.items() if isinstance(outcome, asyncio.CancelledError)}
    assert {number for number, outcome in outcomes.items() if isinstance(outcome, PublishError)} == {n for n in outcomes if n % 3 == 0} - given_up
    assert confirmed == {n for n in outcomes if n % 3} - given_up
    arrived = {int(found or "") for found in await ids(queue)}
    assert confirmed <= arrived <= confirmed | given_up
    assert given_up, "the test gives none up"


async def test_what_the_broker_refuses_is_an_error(channel: aio_pika.abc.AbstractChannel, sender: Sender) -> None:
    await channel.declare_queue("full", durable=True, arguments={"x-max-length": ROOM, "x-overflow": "reject-publish"})
    for number in range(ROOM):
        await send(sender, number, to="full")
    with pytest.raises(DeliveryError):
        await send(sender, ROOM, to="full")


async def test_of_many_in_one_go_each_has_its_own_answer(
    channel: aio_pika.abc.AbstractChannel, sender: Sender, queue: aio_pika.abc.AbstractQueue
) -> None:
    assert await send_all(sender, 100) == [None] * 100
    assert await ids(queue) == [str(number) for number in range(100)]
    assert {type(outcome) for outcome in await send_all(sender, 10, to="nowhere")} == {PublishError}
    full = await channel.declare_queue("full", durable=True, arguments={"x-max-length": ROOM, "x-overflow": "reject-publish"})
    outcomes = await send_all(sender, 10, to="full")
    assert {type(outcome) for outcome in outcomes} == {type(None), DeliveryError}
    assert [str(number) for number, outcome in enumerate(outcomes) if outcome is None] == await ids(full)


async def test_without_confirms_nothing_is_waited_for(amqp_url: str, queue: aio_pika.abc.AbstractQueue) -> None:
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel(publisher_confirms=False)
        sender = Sender(cast("aiormq.Channel", await channel.get_underlay_channel()))
        for number in range(10):
            await send(sender, number, drain=number == 9)
    async with asyncio.timeout(10):
        found: list[str | None] = []
        while len(found) < 10:
            found += await ids(queue)
    assert found == [str(number) for number in range(10)]


async def test_on_a_lost_connection_every_publish_ends(
    channel: aio_pika.abc.AbstractChannel, sender: Sender, queue: aio_pika.abc.AbstractQueue
) -> None:
    many = asyncio.create_task(send_all(sender, 200, to=queue.name))  # the first to be written
    tasks = [asyncio.create_task(send(sender, number, to=queue.name)) for number in range(200)]
    await asyncio.sleep(0)
    await channel.close()
    async with asyncio.timeout(10):
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        outcomes_of_many = await many
    assert any(outcomes), "all were confirmed before the channel closed"
    assert len(outcomes_of_many) == 200
    with pytest.raises(ChannelInvalidStateError):
        await send(sender, 200)
