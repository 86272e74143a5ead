"""shared/sending.py: publishes have the numbers of the order in which they are written, since the broker counts what arrives."""

from __future__ import annotations

import asyncio
import re
from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.frames import Properties
from shared.sending import Sender


def channel() -> Any:
    return SimpleNamespace(
        number=1, is_closed=False, publisher_confirms=True, delivery_tag=0, confirmations={}, message_id_delivery_tag={},
        max_content_size=131_064, write_queue=asyncio.Queue(maxsize=1), create_future=asyncio.get_running_loop().create_future,
    )  # fmt: skip


@settings(deadline=None)
@given(st.lists(st.sampled_from(["send", "send three", "read", "run", "give up"]), max_size=60))
def test_numbers_are_those_of_the_order_in_which_messages_are_written(steps: list[str]) -> None:
    async def played() -> None:
        there = channel()
        sender = Sender(there)
        written: list[str] = []
        numbers: dict[str, int] = {}
        tasks: list[asyncio.Task[Any]] = []
        names = (f"message-{number:03}" for number in range(1000))

        async def read() -> None:
            payload = (await there.write_queue.get()).payload
            written.extend(found.decode() for found in re.findall(rb"message-\d+", payload))
            numbers.update(there.message_id_delivery_tag)

        for step in steps:
            match step:
                case "send":
                    tasks.append(asyncio.create_task(sender.send(b"", Properties(message_id=next(names)), exchange="", routing_key="q")))
                case "send three":
                    three = [(b"", Properties(message_id=next(names))) for _ in range(3)]
                    tasks.append(asyncio.create_task(sender.send_all(three, exchange="", routing_key="q")))
                case "give up" if tasks:
                    tasks[len(written) % len(tasks)].cancel()
                case "read" if not there.write_queue.empty():
                    await read()
                case _:
                    await asyncio.sleep(0)
        while await asyncio.wait_for(settled(there), 10):
            await read()
        assert [numbers[name] for name in written] == list(range(1, len(written) + 1))
        for confirmation in there.confirmations.values():
            confirmation.set_result(None)
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(played())


async def settled(there: Any) -> bool:
    """Whether, when everybody has had a turn, there is something to read."""
    for _ in range(10):
        await asyncio.sleep(0)
    return not there.write_queue.empty()
