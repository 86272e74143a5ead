"""RabbitMQ and MongoDB together, for tests and benchmarks: nothing of them is left when the block ends."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import sys
from typing import TYPE_CHECKING

from services.local import install, ports
from services.local.children import Supervisor
from services.local.mongodb import MongoDB
from services.local.rabbitmq import RabbitMQ

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path


def _to_stderr(line: str) -> None:
    sys.stderr.write(line + "\n")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Servers:
    """Both, running. Their methods keep no event loop: call them from any, also from several one after another."""

    rabbitmq: RabbitMQ
    mongodb: MongoDB

    @property
    def amqp_url(self) -> str:
        """The broker's default virtual host."""
        return self.rabbitmq.amqp_url

    @property
    def mongo_url(self) -> str:
        """The database `bowerbird`; any other name may stand in its place."""
        return self.mongodb.mongo_url


@contextlib.asynccontextmanager
async def local_servers(data: Path, *, where: ports.Ports | None = None, say: Callable[[str], None] = _to_stderr) -> AsyncIterator[Servers]:
    """Get what is missing, start both with their data in `data`, on random ports unless told, and kill them after.

    Killed, since it takes no time and the data is there to be thrown away. That also happens when the thread that
    entered ends. Raises StartError.
    """
    chosen = where or ports.of_tests()
    programs = await asyncio.gather(asyncio.to_thread(install.rabbitmq_server, say), asyncio.to_thread(install.mongod, data / "mongodb", say))
    servers = Servers(rabbitmq=RabbitMQ(programs[0], data / "rabbitmq", chosen), mongodb=MongoDB(programs[1], data / "mongodb", chosen))
    supervisor = Supervisor(say)
    try:
        await supervisor.start(servers.rabbitmq, servers.mongodb)
        yield servers
    finally:
        supervisor.kill()


@contextlib.contextmanager
def blocking_servers(data: Path, *, where: ports.Ports | None = None, say: Callable[[str], None] = _to_stderr) -> Iterator[Servers]:
    """The same where there is no event loop, as in a session fixture of pytest."""
    entered = local_servers(data, where=where, say=say)
    with asyncio.Runner() as runner:
        servers = runner.run(entered.__aenter__())
        try:
            yield servers
        finally:
            runner.run(entered.__aexit__(None, None, None))
