"""Acks, against a model of what a broker does with them: a message that isn't done must never be taken for done."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest
from aiormq.exceptions import ChannelInvalidStateError
from hypothesis import given
from hypothesis import strategies as st

from shared.acks import Acks

if TYPE_CHECKING:
    from aio_pika.abc import AbstractIncomingMessage


pytestmark = pytest.mark.anyio


class Channel:
    """What RabbitMQ makes of acks on a channel: it closes it upon one for a message that isn't in hand (AMQP 0-9-1, section 1.8.3.13)."""

    def __init__(self, messages: int) -> None:
        self.in_hand = list(range(1, messages + 1))
        self.frames = 0
        self.is_closed = False

    async def basic_ack(self, tag: int, *, multiple: bool, wait: bool) -> None:
        """As aiormq's. Raises when the channel is closed."""
        assert not wait
        if self.is_closed:
            raise ChannelInvalidStateError("closed")
        self.frames += 1
        assert tag in self.in_hand, f"unknown delivery tag {tag}"
        self.in_hand = [one for one in self.in_hand if (one > tag if multiple else one != tag)]


class Message:
    """One that came over a channel."""

    def __init__(self, channel: Channel, tag: int) -> None:
        self.channel = channel
        self.delivery_tag = tag

    async def reject(self, *, requeue: bool) -> None:
        """As aio-pika's."""
        assert requeue in {True, False}
        self.channel.in_hand.remove(self.delivery_tag)


def message(channel: Channel, tag: int) -> AbstractIncomingMessage:
    """One, as aio-pika's."""
    return cast("AbstractIncomingMessage", Message(channel, tag))


async def add(acks: Acks, channel: Channel, *tags: int) -> None:
    """Ack all of these at once."""
    await asyncio.gather(*(acks.add(message(channel, tag)) for tag in tags))


async def test_what_is_done_in_turn_is_acked_at_once() -> None:
    acks, channel = Acks(), Channel(64)
    await add(acks, channel, *range(1, 33))
    assert channel.in_hand == list(range(33, 65))
    assert channel.frames == 1


async def test_what_was_rejected_holds_up_nobody() -> None:
    acks, channel = Acks(), Channel(4)
    await acks.reject(message(channel, 1), requeue=True)
    await add(acks, channel, 2, 3)
    assert (channel.in_hand, channel.frames) == ([4], 1)


async def test_what_is_done_out_of_turn_is_acked_without_waiting_for_what_is_not() -> None:
    acks, channel = Acks(), Channel(5)
    await add(acks, channel, 2, 5)
    assert channel.in_hand == [1, 3, 4]
    await add(acks, channel, 3, 1)
    assert channel.in_hand == [4]


@given(
    st.integers(1, 30).flatmap(
        lambda messages: st.lists(st.lists(st.tuples(st.integers(1, messages), st.booleans()), min_size=1, max_size=8), max_size=12).map(
            lambda steps: (messages, steps)
        )
    )
)
def test_in_any_order_exactly_what_is_done_is_acked(drawn: tuple[int, list[list[tuple[int, bool]]]]) -> None:
    messages, steps = drawn

    async def run() -> None:
        acks, channel, done = Acks(), Channel(messages), set[int]()
        for step in steps:
            new = {tag: rejected for tag, rejected in step if tag not in done}
            done |= set(new)
            await asyncio.gather(
                *(acks.reject(message(channel, tag), requeue=False) if rejected else acks.add(message(channel, tag)) for tag, rejected in new.items())
            )
            assert channel.in_hand == [tag for tag in range(1, messages + 1) if tag not in done]

    asyncio.run(run())


async def test_a_new_channel_counts_anew_and_a_lost_one_takes_nothing_along() -> None:
    acks, lost, new = Acks(), Channel(9), Channel(9)
    await add(acks, lost, 1, 2, 3)
    lost.is_closed = True
    await add(acks, new, 2)
    assert new.in_hand == [1, 3, 4, 5, 6, 7, 8, 9], "1 of the lost channel is not 1 of the new one"
    with pytest.raises(ChannelInvalidStateError):
        await acks.add(message(lost, 4))
    await add(acks, new, 1)
    assert new.in_hand == [3, 4, 5, 6, 7, 8, 9]


async def test_everybody_is_told_when_an_ack_of_many_fails() -> None:
    acks, channel = Acks(), Channel(3)
    channel.is_closed = True
    outcomes = await asyncio.gather(*(acks.add(message(channel, tag)) for tag in (1, 2, 3)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ChannelInvalidStateError] * 3
