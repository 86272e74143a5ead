"""GET /stats: how many images there are and how fast they come, what waits in the queues, and what went wrong."""

from __future__ import annotations

import asyncio
from datetime import datetime  # noqa: TC003  (msgspec resolves it at run time)
from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Request, route
from litestar.response.base import ASGIResponse  # noqa: TC002  (Litestar resolves it at run time)

from services.api.http import parameters, replies
from services.api.kept import Kept
from services.api.parts import parts
from shared import topology
from shared.errors import BrokerUnavailable
from shared.status import Status, now

if TYPE_CHECKING:
    from services.api.live.feed import Live
    from shared.broker import Publisher
    from shared.census import Census
    from shared.settings import Settings

COUNTED_EVERY = 5.0
LOOKED_EVERY = 2.0
NEWEST_FAILURES = 1000
SECONDS, MORE_SECONDS = 10, 60


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """A queue: messages that wait in it, beside those that its consumers have in hand."""

    name: str
    messages: int
    consumers: int


class Bytes(msgspec.Struct, frozen=True, kw_only=True):
    """Of all files: images, former copies, thumbnails; `disk` is what they take there."""

    files: int
    disk: int


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """Images a second."""

    stored_per_second: float
    failed_per_second: float


class Rates(Rate, frozen=True, kw_only=True):
    """Over the last ten seconds, and the last minute. As this process hears it, which listens while somebody asks: 0 at first."""

    last_minute: Rate


class StatsResource(msgspec.Struct, frozen=True, kw_only=True):
    """What there is. `images` were counted at `at`; `failures` are the reasons of the 1,000 newest failures.

    `queues` is empty while RabbitMQ doesn't answer.
    """

    images: dict[Status, int]
    failures: dict[str, int]
    bytes: Bytes
    queues: list[Queue]
    rate: Rates
    dead_letters: int
    at: datetime


class _Counted(msgspec.Struct, frozen=True):
    images: dict[Status, int]
    at: datetime


class Backlog(msgspec.Struct, frozen=True):
    """When the oldest image that is queued was asked for, and how many requests wait for the relay."""

    oldest: datetime | None
    undispatched: int


class _Seen(msgspec.Struct, frozen=True):
    failures: dict[str, int]
    bytes: Bytes
    dead_letters: int


class Stats:
    """What is known of it all: counted every few seconds, and only while somebody asks."""

    def __init__(self, census: Census, publisher: Publisher, live: Live, settings: Settings) -> None:
        self._census = census
        self._publisher = publisher
        self._live = live
        self._names = [queue.name for queue in topology.queues(settings.retry_delays)]
        self._counted = Kept(self._count, seconds=COUNTED_EVERY)
        self._seen = Kept(self._look, seconds=LOOKED_EVERY)
        self._queues = Kept(self._ask, seconds=LOOKED_EVERY)
        self._backlog = Kept(self._wait, seconds=COUNTED_EVERY)

    async def get(self) -> StatsResource:
        """The latest. Raises StoreUnavailable."""
        self._live.want()
        counted, seen, queues = await asyncio.gather(self._counted.get(), self._seen.get(), self._queues.get())
        return StatsResource(
            images=counted.images, failures=seen.failures, bytes=seen.bytes, queues=queues, dead_letters=seen.dead_letters,
            rate=Rates(**self._rate(SECONDS), last_minute=Rate(**self._rate(MORE_SECONDS))), at=counted.at,
        )  # fmt: skip

    # The same for whoever only looks, and doesn't want this process to listen to what happens. Each raises StoreUnavailable.

    async def images(self) -> dict[Status, int]:
        """How many have each status."""
        return (await self._counted.get()).images

    async def stored(self) -> Bytes:
        """What all files take."""
        return (await self._seen.get()).bytes

    async def dead_letters(self) -> int:
        """How many there are."""
        return (await self._seen.get()).dead_letters

    async def queues(self) -> list[Queue]:
        """How full they are; none while RabbitMQ doesn't answer."""
        return await self._queues.get()

    async def backlog(self) -> Backlog:
        """What has been waiting."""
        return await self._backlog.get()

    async def _count(self) -> _Counted:
        at = now()
        return _Counted(await self._census.images(), at)

    async def _look(self) -> _Seen:
        failures, stored, letters = await asyncio.gather(
            self._census.failures(newest=NEWEST_FAILURES), self._census.bytes(), self._census.dead_letters()
        )
        return _Seen(failures, Bytes(files=stored.files, disk=stored.disk), letters)

    async def _wait(self) -> Backlog:
        return Backlog(*await asyncio.gather(self._census.oldest_queued(), self._census.undispatched()))

    async def _ask(self) -> list[Queue]:
        try:
            depths = await self._publisher.depths(self._names)
        except BrokerUnavailable:
            return []
        return [Queue(name=depth.queue, messages=depth.messages, consumers=depth.consumers) for depth in depths]

    def _rate(self, seconds: int) -> dict[str, float]:
        tally = self._live.tally
        return {"stored_per_second": tally.rate(Status.STORED, seconds), "failed_per_second": tally.rate(Status.FAILED, seconds)}


@route("/stats", http_method=["GET", "HEAD"])
async def stats(request: Request[Any, Any, Any]) -> ASGIResponse:
    """What there is and what goes on."""
    parameters.read(request.scope["query_string"], ())
    return replies.json(await parts(request).stats.get())
