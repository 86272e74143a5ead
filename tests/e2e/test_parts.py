"""Large images: 60 MiB through processes as they are started anywhere, with a broker that takes no message beyond 16 MiB; and one that is deleted."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import re
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import aio_pika
import httpx
import pytest
from aio_pika.exceptions import AMQPError

from services.local.servers import Servers, local_servers
from services.storer.housekeeping import Housekeeping
from shared.blobs import Blobs
from shared.dead_letters import DeadLetters
from shared.events import PART_BYTES
from shared.mongo import Mongo
from tests.e2e.conftest import free_port
from tests.integration.test_parts_fetcher import tiff
from tests.origin import Origin, body, image
from tests.polling import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from tests.e2e.conftest import Pipeline

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(sys.platform != "linux", reason="how much memory a process has taken is asked of /proc")]

MIB = 1024**2
MOST_MEMORY = 150 * MIB
LARGEST_MESSAGE = 16 * MIB
SERVICES = ("storer", "storer", "fetcher", "api")


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[Servers]:
    """Private ones, of which RabbitMQ is told what it takes by default from 4.0 on."""
    settings = tmp_path / "rabbitmq" / "conf.d"
    settings.mkdir(parents=True)
    (settings / "limit.conf").write_text(f"max_message_size = {LARGEST_MESSAGE}\n", "ascii")
    async with local_servers(tmp_path) as servers:
        yield servers


class Running(NamedTuple):
    """The processes, and a client of theirs."""

    processes: list[subprocess.Popen[bytes]]
    client: httpx.AsyncClient

    async def ready(self) -> bool:
        try:
            return (await self.client.get("/health/ready")).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    async def stored(self, location: str) -> dict[str, Any] | None:
        found: dict[str, Any] = (await self.client.get(location)).json()
        return found if found["status"] == "stored" else None


@contextmanager
def running(servers: Servers) -> Iterator[Running]:
    port = free_port()
    environ = {name: value for name, value in os.environ.items() if not name.startswith("BOWERBIRD_")} | {
        "BOWERBIRD_AMQP_URL": servers.amqp_url, "BOWERBIRD_MONGO_URL": servers.mongo_url, "BOWERBIRD_PORT": str(port),
        "BOWERBIRD_FETCH_ALLOW": "127.77.0.0/16", "BOWERBIRD_LOG_LEVEL": "warning",
    }  # fmt: skip
    with ExitStack() as stack:
        processes = []
        for name in SERVICES:
            process = subprocess.Popen([sys.executable, "-m", "services", name], env=environ, cwd=Path(__file__).parents[2])
            processes.append(process)
            stack.callback(process.wait)
            stack.callback(process.kill)
        yield Running(processes, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30))


def most_memory(process: subprocess.Popen[bytes]) -> int:
    """The most that a process has taken, in bytes."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{process.pid}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) * 1024


async def refuses(servers: Servers, size: int) -> bool:
    """Whether the broker takes no message of this size."""
    connection = await aio_pika.connect(servers.amqp_url)
    async with connection, connection.channel() as channel:
        queue = await channel.declare_queue(exclusive=True)
        try:
            await channel.default_exchange.publish(aio_pika.Message(bytes(size)), queue.name)
        except AMQPError:
            return True
        return False


@pytest.mark.timeout(180)
async def test_a_tiff_of_60_mib_arrives_as_it_was_and_no_process_takes_150_mib_for_it(
    servers: Servers, record_property: Callable[[str, object], None]
) -> None:
    assert not await refuses(servers, LARGEST_MESSAGE - PART_BYTES)
    assert await refuses(servers, LARGEST_MESSAGE + 1)
    content = tiff(directory_at_end=True)
    assert len(content) > 59 * MIB
    with running(servers) as run:
        async with Origin("127.77.0.1") as origin, run.client as client:
            await until(run.ready, seconds=60)
            started = time.monotonic()
            answer = await client.post("/images", json={"url": origin.on("/large.tiff", body(content, "image/tiff"))})
            location = answer.headers["location"]
            found = await until(lambda: run.stored(location), seconds=90)
            took = time.monotonic() - started
            assert found
            assert (found["format"], found["size"], found["sha256"]) == ("tiff", len(content), hashlib.sha256(content).hexdigest())
            assert [attempt["reason"] for attempt in found["attempts"]] == [None]
            assert (await client.get(f"{location}/content")).content == content
            middle = len(content) // 2
            part = await client.get(f"{location}/content", headers={"range": f"bytes={middle}-{middle + 999}"})
            assert (part.status_code, part.content) == (206, content[middle : middle + 1000])
            memory = [most_memory(process) for process in run.processes]
            assert [process.poll() for process in run.processes] == [None] * len(SERVICES)
    figures = ", ".join(f"{name} {taken // MIB} MiB" for name, taken in zip(SERVICES, memory, strict=True))
    record_property("seconds", took)
    record_property("memory", figures)
    print(f"stored in {took:.1f} s; {figures}")  # noqa: T201  (worth knowing)
    assert all(30 * MIB < taken < MOST_MEMORY for taken in memory), figures
    assert await shares(servers) == [60, True]


async def shares(servers: Servers) -> list[object]:
    """How many chunks there are, and whether each of two processes wrote a share of them worth the name."""
    mongo = Mongo(servers.mongo_url, timeout=10)
    try:
        # Five bytes of an ObjectId are its process's.
        writers = [chunk["_id"].binary[4:9] async for chunk in mongo["fs.chunks"].find({}, {"_id": 1})]
    finally:
        mongo.close()
    return [len(writers), len(set(writers)) == 2 and min(map(writers.count, set(writers))) >= 10]


@pytest.mark.parametrize("seed", range(3))
async def test_a_large_image_deleted_on_its_way_leaves_nothing_behind(pipeline: Pipeline, origin: Origin, mongo_url: str, seed: int) -> None:
    dice = random.Random(seed)
    large = image("BMP", (1400, 1000), seed)
    locations = []
    for life in range(6):
        location = await pipeline.post(origin.on(f"/{life}.bmp", body(large + bytes([life]), "image/bmp")))
        await asyncio.sleep(dice.uniform(0, 0.3))  # at any moment, which is the point
        assert (await pipeline.client.delete(location)).status_code == 204
        locations.append(location)
    # Behind all of them in the same queues.
    assert (await pipeline.settled(await pipeline.post(origin.on("/last.png", body(image("PNG"), "image/png")))))["status"] == "stored"
    assert [(await pipeline.client.get(location)).status_code for location in locations] == [404] * len(locations)
    mongo = Mongo(mongo_url, timeout=10)
    try:
        await until(lambda: only_the_last(mongo))
        assert await mongo["dead_letters"].count_documents({}) == 0
    finally:
        mongo.close()


async def only_the_last(mongo: Mongo) -> bool:
    """Whether the housekeeping leaves one file and its chunk."""
    at_once = timedelta(seconds=-1)
    await Housekeeping(mongo, DeadLetters(mongo, Blobs(mongo)), unreferenced_for=at_once, orphaned_for=at_once).sweep()
    return [await mongo[name].count_documents({}) for name in ("fs.files", "fs.chunks")] == [1, 1]
