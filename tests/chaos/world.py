"""The system under chaos: private servers, proxies before them, services as processes, an origin, and their faults."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import httpx

from services.local import install, ports
from services.local.children import Child
from services.local.mongodb import MongoDB
from services.local.rabbitmq import RabbitMQ
from tests.chaos.proxy import Proxy
from tests.chaos.told import SECRET
from tests.origin import Origin
from tests.receiver import Receiver

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator

ROOT = Path(__file__).parents[2]
SERVICES = ("api", "fetcher", "storer")
RETRY_DELAYS = "1s,3s,10s,20s"
KEEP_UNREFERENCED = "1m"
"""The least: so that housekeeping is at work meanwhile."""


class Outside(NamedTuple):
    """What isn't ours, and isn't broken: who is asked, and who is told."""

    origin: Origin
    receiver: Receiver


class World:
    """Everything, running. Its faults are methods; each of them mends itself before it returns, except for what a restart mends."""

    def __init__(self, rabbitmq: RabbitMQ, mongodb: MongoDB, amqp: Proxy, mongo: Proxy, outside: Outside, api_port: int, log: Path) -> None:
        self.rabbitmq = rabbitmq
        self.mongodb = mongodb
        self.amqp = amqp
        self.mongo = mongo
        self.origin = outside.origin
        self.receiver = outside.receiver
        self.base = f"http://127.0.0.1:{api_port}"
        self.mongo_url = mongodb.mongo_url
        self._environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("BOWERBIRD_")},
            "BOWERBIRD_AMQP_URL": f"amqp://guest:guest@127.0.0.1:{amqp.port}/",
            "BOWERBIRD_MONGO_URL": f"mongodb://127.0.0.1:{mongo.port}/bowerbird?directConnection=true",
            "BOWERBIRD_PORT": str(api_port),
            "BOWERBIRD_FETCH_ALLOW": "127.77.0.0/16",
            "BOWERBIRD_FETCH_PORTS": "1-65535",
            "BOWERBIRD_RETRY_DELAYS": RETRY_DELAYS,
            "BOWERBIRD_GRACE": "5s",
            "BOWERBIRD_WEBHOOK_SECRET": SECRET,
            "BOWERBIRD_KEEP_UNREFERENCED": KEEP_UNREFERENCED,
            "PYTHONPATH": str(ROOT),
        }
        self.services = {
            f"{name} {number}": Child(f"{name} {number}", [sys.executable, "-m", "services", name], environ=self._environ, log=log)
            for name in SERVICES
            for number in (1, 2)
        }
        self._keepers: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Starts the services and keeps them alive from now on."""
        for child in self.services.values():
            await child.start()
        self._keepers = [asyncio.create_task(_keep(child)) for child in self.services.values()]

    async def stop(self) -> None:
        """Stops the services in order."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        await asyncio.gather(*(child.stop() for child in self.services.values()))

    async def kill_service(self, name: str, chance: random.Random) -> None:
        """SIGKILL of one process; its keeper starts it again."""
        self.services[f"{name} {chance.choice((1, 2))}"].kill()

    async def restart_service(self, name: str, chance: random.Random) -> None:
        """SIGTERM, as in a deployment; its keeper starts it again."""
        await self.services[f"{name} {chance.choice((1, 2))}"].stop()

    async def kill_broker(self, seconds: float) -> None:
        """SIGKILL of RabbitMQ, and a start after a while."""
        self.rabbitmq.kill()
        await asyncio.sleep(seconds)
        await self.rabbitmq.start()

    async def kill_database(self, seconds: float) -> None:
        """SIGKILL of mongod, and a start after a while."""
        self.mongodb.kill()
        await asyncio.sleep(seconds)
        await self.mongodb.start()

    async def slow(self, proxy: Proxy, seconds: float) -> None:
        """Every block takes 50 ms longer for a while."""
        proxy.delay = 0.05
        try:
            await asyncio.sleep(seconds)
        finally:
            proxy.delay = 0.0

    async def memory_alarm(self, seconds: float) -> None:
        """RabbitMQ believes for a while that it has no memory left, and holds up whoever publishes."""
        await self._rabbitmqctl("set_vm_memory_high_watermark", "absolute", "1MB")
        try:
            await asyncio.sleep(seconds)
        finally:
            await self._rabbitmqctl("set_vm_memory_high_watermark", "absolute", "1GB")

    async def _rabbitmqctl(self, *arguments: str) -> None:
        program = self.rabbitmq.program.with_name("rabbitmqctl")
        process = await asyncio.create_subprocess_exec(
            program, *arguments, env=self.rabbitmq.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        await process.wait()


async def _keep(child: Child) -> None:
    while True:
        await child.wait(every=0.05)
        await asyncio.sleep(0.3)
        await child.start()


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    """Everything started, with its data in a folder; nothing is left when the block ends."""
    chosen = ports.of_tests()

    def say(line: str) -> None:
        sys.stderr.write(f"{line}\n")

    async with AsyncExitStack() as stack:
        rabbitmq = RabbitMQ(install.rabbitmq_server(say), folder / "rabbitmq", chosen)
        mongodb = MongoDB(install.mongod(folder / "mongodb", say), folder / "mongodb", chosen)
        stack.push_async_callback(rabbitmq.stop)
        stack.push_async_callback(mongodb.stop)
        await asyncio.gather(rabbitmq.start(), mongodb.start())
        amqp = await stack.enter_async_context(Proxy(chosen.amqp))
        mongo = await stack.enter_async_context(Proxy(chosen.mongodb))
        # In a thread of its own, so that what the run does here never slows it.
        origin = stack.enter_context(Origin("127.77.0.1"))
        receiver = await stack.enter_async_context(Receiver("127.77.0.2"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        made = World(rabbitmq, mongodb, amqp, mongo, Outside(origin, receiver), port, folder / "services.log")
        stack.push_async_callback(made.stop)
        await made.start()
        await until_ready(made, seconds=60)
        yield made


async def until_ready(made: World, *, seconds: float) -> float:
    """How long it took until the api said that everything is there, in seconds."""
    started = time.monotonic()
    async with httpx.AsyncClient(base_url=made.base, trust_env=False, timeout=5) as client:
        while time.monotonic() - started < seconds:
            with contextlib.suppress(httpx.HTTPError):
                if (await client.get("/health/ready")).status_code == httpx.codes.OK:
                    return time.monotonic() - started
            await asyncio.sleep(0.1)
    raise AssertionError(f"not ready again within {seconds:g} s")
