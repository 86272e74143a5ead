"""What every section works with: private servers, an origin, and the project's processes as `bowerbird up` starts them."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import os
import sys
import time
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
import pymongo

from bench import machine
from bench.crew import ROOT
from bench.measure import BenchError
from services.local import ports
from services.local.children import Child
from services.local.logs import tail
from shared.catalog import COLLECTION
from shared.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    from bench.origin import Origin
    from services.local.servers import Servers

READY_SECONDS = 60.0
POLL_SECONDS = 0.05
SERVICES = ("api", "fetcher", "storer")
_numbers = itertools.count(1)
Number = TypeVar("Number", int, float)


@dataclasses.dataclass(frozen=True, kw_only=True)
class World:
    """The servers and the origin, running. `quick` is for a machine that has other things to do: everything once, and little of it."""

    servers: Servers
    origin: Origin
    folder: Path
    data: Path
    quick: bool
    say: Callable[[str], None]

    @property
    def rounds(self) -> range:
        """As the function."""
        return rounds(quick=self.quick)

    def pick(self, full: Number, quick: Number) -> Number:
        """One or the other."""
        return quick if self.quick else full


@dataclasses.dataclass(frozen=True, kw_only=True)
class Room:
    """A virtual host and a database of their own, empty at first."""

    amqp_url: str
    mongo_url: str
    client: pymongo.AsyncMongoClient[dict[str, Any]]

    @property
    def database(self) -> Any:  # noqa: ANN401  (pymongo's type has parameters that say nothing here)
        """The database, for looking at."""
        return self.client.get_default_database()

    @property
    def images(self) -> Any:  # noqa: ANN401  (likewise)
        """The catalog's collection."""
        return self.database[COLLECTION]

    async def empty(self) -> None:
        """Forget every image and its bytes, and leave the indexes as they are."""
        for name in (COLLECTION, "fs.files", "fs.chunks"):
            await self.database[name].delete_many({})

    async def until_stored(self, count: int, *, before: int = 0, seconds: float) -> float:
        """When (of the monotonic clock) so many images were stored, beside those before. Raises BenchError when one fails, or after so many seconds."""
        until = time.monotonic() + seconds
        while (stored := await self.images.count_documents({"status": "stored"}) - before) < count:
            if time.monotonic() > until or await self.images.find_one({"status": "failed"}):
                odd = await self.images.find_one({"status": {"$ne": "stored"}}) or {}
                raise BenchError(
                    f"{stored:,} of {count:,} images stored within {seconds:g} s; one of the others: {odd.get('status')}, {odd.get('attempts')}"
                )
            # Counting takes time of the database's, so it is done often only towards the end.
            await asyncio.sleep(POLL_SECONDS if count - stored < count / 5 else 10 * POLL_SECONDS)
        return time.monotonic()


def rounds(*, quick: bool) -> range:
    """A run has each of these numbers; negative ones only warm up."""
    return range(1) if quick else range(-1, 3)


@asynccontextmanager
async def room(servers: Servers) -> AsyncIterator[Room]:
    """A new one; dropped after."""
    name = f"bench-{next(_numbers)}"
    amqp_url = await servers.rabbitmq.add_vhost(name)
    mongo_url = servers.mongo_url.replace("/bowerbird?", f"/{name}?")
    async with pymongo.AsyncMongoClient[dict[str, Any]](mongo_url, tz_aware=True) as client:
        try:
            yield Room(amqp_url=amqp_url, mongo_url=mongo_url, client=client)
        finally:
            with contextlib.suppress(pymongo.errors.PyMongoError, httpx.HTTPError):  # the servers may be gone already
                await client.drop_database(name)
                await servers.rabbitmq.delete_vhost(name)


class Project:
    """The project's processes, running."""

    def __init__(self, port: int, children: list[Child]) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._children = children

    def peak_memory(self) -> dict[str, float]:
        """The most that any process of each service ever held, in MiB."""
        peaks: dict[str, float] = {}
        for child in self._children:
            name = child.name.partition(" ")[0]
            peaks[name] = max(peaks.get(name, 0.0), machine.peak_memory(child.pid or 0))
        return peaks


@asynccontextmanager
async def project(world: World, where: Room, processes: Mapping[str, int] | None = None) -> AsyncIterator[Project]:
    """The services, ready, as many processes of each as said; by default as many as `bowerbird up` starts."""
    processes = default_processes() if processes is None else processes
    port = ports.any_free("127.0.0.1")
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("BOWERBIRD_")},
        "BOWERBIRD_AMQP_URL": where.amqp_url,
        "BOWERBIRD_MONGO_URL": where.mongo_url,
        "BOWERBIRD_PORT": str(port),
        "BOWERBIRD_FETCH_ALLOW": "127.0.0.0/8",
        "BOWERBIRD_FETCH_PORTS": "1-65535",
        "BOWERBIRD_GRACE": "5s",
        "PYTHONPATH": str(ROOT),
    }
    children = [
        Child(f"{name} {number}", [sys.executable, "-m", "services", name], environ=environ, log=world.folder / f"{name}.log")
        for name, count in processes.items()
        for number in range(count)
    ]
    async with AsyncExitStack() as stack:
        for child in children:
            stack.callback(child.kill)
            await child.start()
        # An api alone never is ready, having nobody to work for it.
        await _until_answers(f"http://127.0.0.1:{port}/{'health/ready' if set(processes) == set(SERVICES) else 'images?limit=1'}", children)
        yield Project(port, children)
        await asyncio.gather(*(child.stop() for child in children))


def default_processes() -> dict[str, int]:
    """As many of each service as `bowerbird up` starts on this machine."""
    settings = Settings()
    return {"api": settings.apis, "fetcher": settings.fetchers, "storer": settings.storers}


def shown(processes: Mapping[str, int]) -> str:
    """As people say it: 1 api, 2 fetchers."""
    return ", ".join(f"{count} {name}{'s' if count > 1 else ''}" for name, count in processes.items())


async def _until_answers(url: str, children: list[Child]) -> None:
    until = time.monotonic() + READY_SECONDS
    async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
        while time.monotonic() < until:
            with contextlib.suppress(httpx.HTTPError):
                if (await client.get(url)).status_code == httpx.codes.OK:
                    return
            if ended := [child for child in children if not child.running]:
                raise BenchError(f"{ended[0].name} ended while it started. {tail(ended[0].log) if ended[0].log else ''}")
            await asyncio.sleep(POLL_SECONDS)
    raise BenchError(f"not ready within {READY_SECONDS:g} s: {url}")
