"""The whole pipeline among hostile neighbours: origins, a DNS that lies, and canaries that nobody may reach.

Hits are what counts, not the texts of errors: a canary that was connected to fails the test whatever the answer said.
With TESTS_SECURITY_FIGURES=file each module appends a line of what it tried, in JSON: the table in docs/security.md.
"""

from __future__ import annotations

import itertools
import json
import os
import time
import uuid
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import aio_pika
import msgspec

from services.api.main import api
from services.fetcher.download import Downloader
from services.fetcher.limits import Limits
from services.fetcher.main import fetcher
from services.storer.main import storer
from shared import topology, urls
from shared.broker import Publisher
from shared.catalog import Catalog
from shared.errors import Reason
from shared.image import Addition
from shared.mongo import Mongo
from shared.settings import Settings
from tests.e2e.conftest import Pipeline, free_port, running
from tests.origin import PORTS, Origin, body, image
from tests.polling import until
from tests.security.dns import Dns

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.e2e.conftest import Service
    from tests.origin import Behaviour

PUBLIC = "127.77.0.1"
"""What counts as public here: 127.77.0.0/16 is allowed, nothing else of this machine is."""

LIMITS = Limits(dns=0.7, answer=1.5, idle=1.5)
DELAYS = (0.1, 0.2)
ATTEMPTS = 1 + len(DELAYS)
AT_ONCE = 2.0
"""Seconds within which a refusal must be there; it takes milliseconds, on a machine that has nothing else to do."""


class Canaries(NamedTuple):
    """Listeners on loopback that must not be reached, and the only origin that may be, all on the same port."""

    forbidden: list[Origin]
    origin: Origin

    @property
    def connections(self) -> int:
        """How many came that should not have."""
        return sum(canary.connections for canary in self.forbidden)


class World:
    """A running pipeline and what is around it."""

    def __init__(self, pipeline: Pipeline, dns: Dns, canaries: Canaries, mongo: Mongo, publisher: Publisher) -> None:
        self.pipeline = pipeline
        self.settings = pipeline.settings
        self.client = pipeline.client
        self.dns = dns
        self.canaries = canaries
        self.origin = canaries.origin
        self.port = canaries.origin.port
        self.publisher = publisher
        self.tried = 0
        self.refused = 0
        self.slowest = ("", 0.0)
        self._mongo = mongo
        self._catalog = Catalog(mongo)
        self._numbers = itertools.count(1)

    def on(self, behaviour: Behaviour, suffix: str = "") -> str:
        """The URL, with a path of its own, at which the origin does something."""
        return self.origin.on(f"/{next(self._numbers)}{suffix}", behaviour)

    async def refused_at_once(self, url: str) -> str:
        """Submits a URL, which must be refused with nothing recorded, asked or dialled; the rule that it breaks."""
        asked = self.dns.asked.total()
        self.tried += 1
        started = time.monotonic()
        answer = await self.client.post("/images", content=json.dumps({"url": url}), headers={"content-type": "application/json"})
        assert time.monotonic() - started < AT_ONCE
        assert answer.status_code == 422, (url, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
        assert "location" not in answer.headers
        assert self.dns.asked.total() == asked
        self.refused += 1
        return str(answer.json()["rule"])

    async def blocked_in_the_queue(self, url: str) -> None:
        """Puts a URL into the fetcher's queue, past the api, as somebody with access to RabbitMQ could: it must end blocked, undialled."""
        asked = self.dns.asked.total()
        found = await self.failed_as(await self.queued(url), {Reason.BLOCKED}, attempts=1)
        assert self.dns.asked.total() == asked
        assert found["error"]["reason"] == Reason.BLOCKED

    async def queued(self, url: str) -> str:
        """Puts a URL into the fetcher's queue, past the api; where its image is."""
        image = urls.image_id(uuid.uuid4().hex)
        [added] = await self._catalog.add([Addition(image, urls.Url(href=url, scheme="http", host="somewhere", port=80))])
        assert added is not None
        request = added.request()
        await self._catalog.dispatched([request])
        await self.publisher.publish(request)
        return f"/images/{image}"

    async def fails(self, url: str, *reasons: Reason, attempts: int | None = None, seconds: float = 15.0) -> dict[str, Any]:
        """Submits a URL, which must be accepted and end failed for one of some reasons, leaving nothing behind."""
        return await self.failed_as(await self.pipeline.post(url), set(reasons), attempts=attempts, seconds=seconds)

    async def failed_as(self, location: str, reasons: set[Reason], *, attempts: int | None = None, seconds: float = 15.0) -> dict[str, Any]:
        """The image, which must have failed for one of some reasons, within a time and a number of attempts, leaving nothing behind."""
        self.tried += 1
        started = time.monotonic()
        found = await self.pipeline.settled(location, seconds=seconds)
        self.slowest = max(self.slowest, (str(found["source_url"]), time.monotonic() - started), key=lambda entry: entry[1])
        assert found["status"] == "failed", found
        assert found["error"]["reason"] in reasons, found["error"]
        assert found["sha256"] is None
        if attempts is not None:
            assert len(found["attempts"]) == attempts, found["attempts"]
        self.refused += 1
        return found

    async def stored(self, url: str, *, seconds: float = 15.0) -> dict[str, Any]:
        """Submits a URL, which must end stored."""
        found = await self.pipeline.settled(await self.pipeline.post(url), seconds=seconds)
        assert found["status"] == "stored", found
        return found

    async def works(self) -> None:
        """A good image still passes: nobody died, or was replaced in time."""
        await self.stored(self.on(body(image("PNG", seed=next(self._numbers)))))

    async def is_clean(self) -> None:
        """Every file belongs to a stored image or a dead letter, and every chunk to a file."""
        database = self._mongo.database
        kept = set(await database["images"].distinct("file")) | set(await database["dead_letters"].distinct("file"))
        assert set(await database["fs.files"].distinct("_id")) <= kept
        assert set(await database["fs.chunks"].distinct("files_id")) <= kept

    async def dead_letters(self) -> list[dict[str, Any]]:
        """What is among the dead letters."""
        items: list[dict[str, Any]] = (await self.client.get("/dead-letters")).raise_for_status().json()["items"]
        return items

    async def send(self, queue: topology.Queue, content: bytes, **properties: Any) -> str:
        """Puts any message into a queue; its id."""
        message_id = uuid.uuid4().hex
        async with await aio_pika.connect(self.settings.require("amqp_url")) as connection:
            channel = await connection.channel()
            message = aio_pika.Message(content, message_id=message_id, delivery_mode=aio_pika.DeliveryMode.PERSISTENT, **properties)
            await channel.default_exchange.publish(message, queue.name)
        return message_id

    async def died(self, message_id: str, *, seconds: float = 20.0) -> dict[str, Any]:
        """The dead letter that a message became."""

        async def find() -> dict[str, Any] | None:
            return next((letter for letter in await self.dead_letters() if letter["message_id"] == message_id), None)

        self.tried += 1
        letter = await until(find, seconds=seconds)
        assert letter
        self.refused += 1
        return letter


def settings_for(amqp_url: str, mongo_url: str, **more: Any) -> Settings:
    """Settings under which the tests' origins, and nothing else, may be asked."""
    values: dict[str, Any] = {
        "amqp_url": amqp_url, "mongo_url": mongo_url, "port": free_port(), "fetch_allow": (ip_network("127.77.0.0/16"),), "retry_delays": DELAYS,
        "fetch_timeout": 2.5, "max_image_bytes": 1024**2, "max_pixels": 10_000_000, "grace": 2.0,
    }  # fmt: skip
    return Settings(**(values | more))


@asynccontextmanager
async def world(settings: Settings, section: str, *, fetching: Callable[[Dns], Service] | None = None) -> AsyncIterator[World]:
    """A pipeline and its surroundings; at the end no canary has been reached. `fetching` makes another fetcher than the usual one."""
    async with AsyncExitStack() as stack:
        dns = await stack.enter_async_context(Dns())
        canaries = await stack.enter_async_context(_canaries())
        made: Service = fetching(dns) if fetching else partial(fetcher, downloader=partial(Downloader, lookup=dns.lookup, limits=LIMITS))
        pipeline = await stack.enter_async_context(running(settings, (storer, made, api)))
        publisher = await stack.enter_async_context(Publisher(settings.require("amqp_url"), delays=settings.retry_delays))
        await publisher.wait()
        mongo = Mongo(settings.require("mongo_url"), timeout=10)
        stack.callback(mongo.close)
        found = World(pipeline, dns, canaries, mongo, publisher)
        yield found
        note(section=section, tried=found.tried, refused=found.refused, canary_hits=found.canaries.connections, slowest=found.slowest)


def note(**facts: object) -> None:
    """Figures for docs/security.md."""
    if file := os.environ.get("TESTS_SECURITY_FIGURES"):
        with Path(file).open("a") as lines:
            lines.write(msgspec.json.encode(facts).decode() + "\n")


@asynccontextmanager
async def _canaries() -> AsyncIterator[Canaries]:
    addresses = ["127.0.0.1", "::1", PUBLIC]
    for port in PORTS:
        async with AsyncExitStack() as stack:
            made = Counter[str]()
            origins = []
            for address in addresses:
                try:
                    origin = Origin(address, port)
                except OSError:
                    continue
                stack.callback(origin.socket.close)
                origins.append(await stack.enter_async_context(origin))
                made[address] += 1
            if made["127.0.0.1"] and made[PUBLIC] and (made["::1"] or not _has_ipv6()):
                *forbidden, allowed = origins
                yield Canaries(forbidden, allowed)
                return
    raise OSError("no port is free on all addresses")


def _has_ipv6() -> bool:
    try:
        Origin("::1").socket.close()
    except OSError:
        return False
    return True
