"""Images that come in parts, to storers that are processes: how much memory they take, and what one that is killed leaves to the other."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import aio_pika
import pytest

from shared import events, topology
from shared.broker import HEADER_BYTES, LARGEST_MESSAGE, Publisher
from tests.parted import large, read_as_others_do
from tests.polling import until
from tests.redelivery import add

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from shared.blobs import Blobs
    from shared.catalog import Catalog
    from shared.mongo import Mongo
    from tests.parted import Large

pytestmark = pytest.mark.anyio

MIB = 1024**2
MOST_MEMORY = 150 * MIB


@contextmanager
def storer_process(amqp_url: str, mongo_url: str) -> Iterator[subprocess.Popen[bytes]]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("BOWERBIRD_")}
    environ |= {"BOWERBIRD_AMQP_URL": amqp_url, "BOWERBIRD_MONGO_URL": mongo_url}
    process = subprocess.Popen([sys.executable, "-m", "services", "storer"], env=environ, cwd=Path(__file__).parents[2])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def reading(channel: aio_pika.abc.AbstractChannel, number: int) -> bool:
    queues = (topology.IMAGE_PART, topology.IMAGE_FETCHED)
    return all([(await channel.declare_queue(queue.name, passive=True)).declaration_result.consumer_count == number for queue in queues])


async def file_when_stored(mongo: Mongo, one: Large) -> bytes:
    async def stored() -> bool:
        return bool(await mongo["images"].find_one({"_id": one.fetched.image, "status": "stored"}))

    await until(stored, seconds=60)
    document = await mongo["images"].find_one({"_id": one.fetched.image})
    assert document
    return await read_as_others_do(mongo, document["file"])


def most_memory(process: subprocess.Popen[bytes]) -> int:
    """The most that a process has taken, in bytes."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{process.pid}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="how much memory a process has taken is asked of /proc")
async def test_an_image_of_60_mib_takes_no_storer_150_mib_and_both_have_their_share_of_it(
    amqp_url: str, mongo_url: str, mongo: Mongo, catalog: Catalog, blobs: Blobs, record_property: Callable[[str, object], None]
) -> None:
    await blobs.create_indexes()
    one = large(await add(catalog, "http://a/"), parts=60)
    assert max(len(events.encode(event).body) for event in one.all) + HEADER_BYTES < LARGEST_MESSAGE
    async with Publisher(amqp_url) as publisher, await aio_pika.connect(amqp_url) as connection:
        await publisher.wait()
        channel = await connection.channel()
        with storer_process(amqp_url, mongo_url) as first, storer_process(amqp_url, mongo_url) as second:
            await until(lambda: reading(channel, 2))
            await asyncio.gather(*(publisher.publish(event) for event in one.all))
            assert await file_when_stored(mongo, one) == one.content
            memory = [most_memory(process) for process in (first, second)]
    record_property("mebibytes", [taken // MIB for taken in memory])
    assert all(30 * MIB < taken < MOST_MEMORY for taken in memory), memory
    # Five bytes of an ObjectId are its process's.
    writers = {chunk["_id"].binary[4:9] async for chunk in mongo["fs.chunks"].find({}, {"_id": 1})}
    assert len(writers) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="how much memory a process has taken is asked of /proc")
async def test_a_storer_takes_no_more_for_several_of_them_at_once(
    amqp_url: str, mongo_url: str, mongo: Mongo, catalog: Catalog, blobs: Blobs
) -> None:
    await blobs.create_indexes()
    made = [large(await add(catalog, f"http://a/{number}"), parts=60) for number in range(4)]
    async with Publisher(amqp_url) as publisher, await aio_pika.connect(amqp_url) as connection:
        await publisher.wait()
        channel = await connection.channel()
        with storer_process(amqp_url, mongo_url) as process:
            await until(lambda: reading(channel, 1))
            for one in made:
                await asyncio.gather(*(publisher.publish(event) for event in one.all))
            for one in made:
                assert await file_when_stored(mongo, one) == one.content
            taken = most_memory(process)
    assert 30 * MIB < taken < MOST_MEMORY, taken


async def test_what_a_killed_storer_had_in_hand_another_finishes(amqp_url: str, mongo_url: str, mongo: Mongo, catalog: Catalog, blobs: Blobs) -> None:
    await blobs.create_indexes()
    one = large(await add(catalog, "http://a/"), parts=5)
    async with Publisher(amqp_url) as publisher, await aio_pika.connect(amqp_url) as connection:
        await publisher.wait()
        channel = await connection.channel()
        with storer_process(amqp_url, mongo_url) as killed:
            await until(lambda: reading(channel, 1))
            await asyncio.gather(*(publisher.publish(part) for part in one.parts))
            await until(lambda: mongo["fs.chunks"].find_one({}, {"_id": 1}), every=0.001)
            killed.kill()
        with storer_process(amqp_url, mongo_url):
            await publisher.publish(one.fetched)
            assert await file_when_stored(mongo, one) == one.content
    assert await mongo["fs.chunks"].count_documents({}) == 5
