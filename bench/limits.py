"""The machine's own limit: the three things that nobody can do without, each alone, with as many processes, and nothing else around it.

The slowest of them is what a service that downloads, queues and stores durably could reach at the very best, if the other two cost nothing.
"""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Any

import aio_pika
import aiohttp
import pymongo
from bson import Binary, ObjectId
from pymongo import WriteConcern

from bench import crew
from bench.photos import numbered

if TYPE_CHECKING:
    from bench.crew import Go
    from bench.origin import Origin
    from bench.world import Room

IN_FLIGHT = 32
BATCH_BYTES = 8 * 1024**2
MAX_BATCH = 64
KEPT = 500  # messages in the queue, as in one whose consumers keep up; it drops the oldest
SECONDS = 120.0
HOW = {
    "download alone": f"aiohttp into memory, {IN_FLIGHT} at once in each process",
    "publish alone": f"aio-pika, persistent, confirmed, to a quorum queue, {IN_FLIGHT} at once in each process",
    "insert alone": f"pymongo, batches of up to {MAX_BATCH}, majority, journaled, one batch at once in each process",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Download:
    """aiohttp, the bytes into memory."""

    origin: Origin
    size: str
    numbers: range

    async def __call__(self, go: Go) -> int:
        """How many."""
        numbers = iter(self.numbers)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar()) as session:

            async def work() -> None:
                for number in numbers:
                    async with session.get(self.origin.url(self.size, number)) as answer:
                        answer.raise_for_status()
                        await answer.read()

            await go()
            await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
        return len(self.numbers)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Publish:
    """aio-pika, persistent and confirmed, to a quorum queue."""

    amqp_url: str
    size: str
    numbers: range

    async def __call__(self, go: Go) -> int:
        """How many."""
        bodies = [numbered(self.size, number) for number in self.numbers]
        async with await aio_pika.connect(self.amqp_url) as connection:
            channel = await connection.channel()
            arguments: dict[str, Any] = {"x-queue-type": "quorum", "x-max-length": KEPT}
            queue = await channel.declare_queue("bench", durable=True, arguments=arguments)

            async def work() -> None:
                while bodies:
                    message = aio_pika.Message(bodies.pop(), delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
                    await channel.default_exchange.publish(message, queue.name)

            await go()
            await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
        return len(self.numbers)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Insert:
    """pymongo, in batches, acknowledged by a majority from its journal."""

    mongo_url: str
    size: str
    numbers: range

    async def __call__(self, go: Go) -> int:
        """How many."""
        bodies = [numbered(self.size, number) for number in self.numbers]
        batch = max(1, min(MAX_BATCH, BATCH_BYTES // len(bodies[0])))
        with pymongo.MongoClient[dict[str, Any]](self.mongo_url) as client:
            chunks = client.get_default_database()["bench.chunks"].with_options(write_concern=WriteConcern("majority", j=True))
            chunks.create_index([("files_id", 1), ("n", 1)], unique=True)
            await go()
            for start in range(0, len(bodies), batch):
                documents = [{"files_id": ObjectId(), "n": 0, "data": Binary(body)} for body in bodies[start : start + batch]]
                await asyncio.to_thread(chunks.insert_many, documents, ordered=False)
        return len(self.numbers)


async def measure(origin: Origin, where: Room, size: str, count: int, processes: int) -> dict[str, float]:
    """Images a second of each of the three, one after the other."""
    parts = [range(count)[number::processes] for number in range(processes)]
    rates = {
        "download alone": await _rate([Download(origin=origin, size=size, numbers=part) for part in parts]),
        "publish alone": await _rate([Publish(amqp_url=where.amqp_url, size=size, numbers=part) for part in parts]),
        "insert alone": await _rate([Insert(mongo_url=where.mongo_url, size=size, numbers=part) for part in parts]),
    }
    await where.database["bench.chunks"].drop()
    return rates


async def _rate(tasks: list[Any]) -> float:
    return crew.rate(await crew.together(tasks, seconds=SECONDS))
