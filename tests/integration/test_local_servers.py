"""The private RabbitMQ and MongoDB: their data outlives crashes and other ports, and nothing of them stays."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Any

import aio_pika
import aio_pika.abc
import pytest
from pymongo import AsyncMongoClient

from services.local import install, ports
from services.local.errors import StartError
from services.local.mongodb import MongoDB
from services.local.rabbitmq import RabbitMQ
from services.local.servers import Servers, blocking_servers
from tests.polling import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


DURABLE: dict[str, Any] = {"x-queue-type": "quorum"}
# RabbitMQ 3.10 forgets a quorum queue for good when it is killed within half a second of its declaration.
DECLARED_FOR_GOOD = 1.5


async def put(servers: Servers, number: int) -> None:
    connection = await aio_pika.connect(servers.amqp_url)
    async with connection, connection.channel() as channel:
        await channel.declare_queue("kept", durable=True, arguments=DURABLE)
        message = aio_pika.Message(b"%d" % number, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(message, routing_key="kept")
    async with AsyncMongoClient[dict[str, Any]](servers.mongo_url, journal=True) as client:
        await client.get_default_database()["kept"].insert_one({"_id": number})


async def kept(servers: Servers) -> tuple[int, int]:
    connection = await aio_pika.connect(servers.amqp_url)
    async with connection, connection.channel() as channel, asyncio.timeout(20):
        await channel.set_qos(prefetch_count=10)
        queue = await channel.get_queue("kept")
        messages = [message async for message in _all_of(queue)]
    async with AsyncMongoClient[dict[str, Any]](servers.mongo_url) as client:
        return len(messages), await client.get_default_database()["kept"].count_documents({})


async def _all_of(queue: aio_pika.abc.AbstractQueue) -> AsyncIterator[aio_pika.abc.AbstractIncomingMessage]:
    while message := await queue.get(fail=False, timeout=10):
        yield message


def listening(chosen: ports.Ports) -> list[str]:
    return [name for name, port in dataclasses.asdict(chosen).items() if not ports.is_free(port)]


@pytest.mark.timeout(120)
def test_data_outlives_a_crash_and_other_ports_and_nothing_stays(tmp_path: Path) -> None:
    first = ports.of_tests()
    with blocking_servers(tmp_path, where=first) as servers:
        assert listening(first) == ["amqp", "management", "distribution", "epmd", "mongodb", "prometheus"]
        asyncio.run(put(servers, 1))
        asyncio.run(asyncio.sleep(DECLARED_FOR_GOOD))

        async def crash() -> None:
            servers.rabbitmq.kill()
            servers.mongodb.kill()
            await asyncio.gather(servers.rabbitmq.start(), servers.mongodb.start())

        asyncio.run(crash())
        assert asyncio.run(kept(servers)) == (1, 1)
    assert listening(first) == []

    second = ports.of_tests()
    with blocking_servers(tmp_path, where=second) as servers:
        asyncio.run(put(servers, 2))
        assert asyncio.run(kept(servers)) == (2, 2)

        async def stop() -> None:
            await asyncio.gather(servers.rabbitmq.stop(), servers.mongodb.stop())

        asyncio.run(stop())
        assert listening(second) == []


@pytest.mark.anyio
@pytest.mark.timeout(120)
async def test_data_of_a_replica_set_of_one_outlives_a_crash(tmp_path: Path) -> None:
    folder, port = tmp_path / "mongodb", ports.of_tests().mongodb
    (folder / "data").mkdir(parents=True)
    program = install.mongod(folder, lambda _: None)
    # As it was started before there was a mongod alone.
    command: list[str | Path] = [
        program,
        "--bind_ip",
        "127.0.0.1",
        "--port",
        str(port),
        "--dbpath",
        folder / "data",
        "--replSet",
        "rs0",
        "--nounixsocket",
    ]
    mongod = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
    address = f"127.0.0.1:{port}"
    try:
        async with AsyncMongoClient[dict[str, Any]](address, directConnection=True, w="majority", journal=True) as client:

            async def writable() -> bool:
                return bool((await client.admin.command("hello"))["isWritablePrimary"])

            await client.admin.command("replSetInitiate", {"_id": "rs0", "members": [{"_id": 0, "host": address}]})
            await until(writable)
            await client["bowerbird"]["kept"].insert_one({"_id": 1})
    finally:
        mongod.kill()
        await mongod.wait()
    (folder / "data.used").touch()

    mongodb = MongoDB(program, folder, ports.of_tests())
    await mongodb.start()
    try:
        async with AsyncMongoClient[dict[str, Any]](mongodb.mongo_url) as client:
            assert await client["bowerbird"]["kept"].find_one() == {"_id": 1}
            await client["bowerbird"]["kept"].insert_one({"_id": 2})
    finally:
        mongodb.kill()
        await mongodb.wait()
    assert not (folder / "alone").exists()


@pytest.mark.timeout(60)
def test_virtual_hosts_come_and_go(tmp_path: Path) -> None:
    async def use(servers: Servers) -> None:
        url = await servers.rabbitmq.add_vhost("mine")
        connection = await aio_pika.connect(url)
        async with connection, connection.channel() as channel:
            await channel.declare_queue("queue", durable=True, arguments=DURABLE)
        await servers.rabbitmq.delete_vhost("mine")
        with pytest.raises(aio_pika.exceptions.AMQPError):
            await aio_pika.connect(url)

    with blocking_servers(tmp_path) as servers:
        asyncio.run(use(servers))


def test_a_broker_that_does_not_start_says_why(tmp_path: Path) -> None:
    program = tmp_path / "rabbitmq-server"
    program.write_text("#!/bin/sh\necho 'it is Monday'\nexit 1\n")
    program.chmod(0o755)
    broker = RabbitMQ(program, tmp_path / "data", ports.of_tests())

    async def run() -> None:
        try:
            await broker.start()
        finally:
            await broker.stop()

    with pytest.raises(StartError, match=r"RabbitMQ ended while it started\. The end of .*rabbitmq\.log:\n(.*\n)*  it is Monday"):
        asyncio.run(run())
