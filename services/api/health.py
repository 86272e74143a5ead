"""The probes: /health/live and /health/ready."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

from litestar import Request, route
from litestar.response.base import ASGIResponse  # noqa: TC002  (Litestar resolves it at run time)

from services.api.access.keys import PUBLIC
from services.api.http import replies
from services.api.parts import parts
from shared import topology
from shared.errors import BowerbirdError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from shared.broker import Publisher
    from shared.mongo import Mongo

log = logging.getLogger("bowerbird.api")

CHECK_SECONDS = 2.0
KEEP_SECONDS = 1.0
KEEP_BAD_SECONDS = 0.1
OK = "ok"
READ_BY_OTHERS = (topology.DOWNLOAD_REQUESTED, topology.IMAGE_FETCHED)


class Readiness:
    """Runs named checks, each of which returns `ok` or what is wrong; all at once, for CHECK_SECONDS at most.

    A result is kept for KEEP_SECONDS, so that probing can't be used to load the servers behind; one that isn't all `ok` for KEEP_BAD_SECONDS
    only: who probes then waits for it to pass, and just after a start that is soon.
    """

    def __init__(self, checks: Mapping[str, Callable[[], Awaitable[str]]]) -> None:
        self._checks = checks
        self._lock = asyncio.Lock()
        self._until = float("-inf")
        self._known: dict[str, str] = {}

    async def check(self) -> dict[str, str]:
        """What each check says, by its name."""
        async with self._lock:
            if time.monotonic() > self._until:
                results = await asyncio.gather(*(_bounded(check) for check in self._checks.values()))
                self._known = dict(zip(self._checks, results, strict=True))
                fine = all(result == OK for result in results)
                self._until = time.monotonic() + (KEEP_SECONDS if fine else KEEP_BAD_SECONDS)
        return self._known


def readiness(mongo: Mongo, publisher: Publisher) -> Readiness:
    """Ready is: a URL that is submitted now will be downloaded and stored."""

    async def mongodb() -> str:
        await mongo.ping()
        return OK

    async def rabbitmq() -> str:
        return OK if publisher.connected else "not connected"

    def consumers(queue: topology.Queue) -> Callable[[], Awaitable[str]]:
        async def check() -> str:
            return OK if await publisher.consumers(queue) else "nobody reads this queue"

        return check

    return Readiness({"mongodb": mongodb, "rabbitmq": rabbitmq, **{queue.name: consumers(queue) for queue in READ_BY_OTHERS}})


@route("/health/live", http_method=["GET", "HEAD"], opt={PUBLIC: True})
async def live() -> ASGIResponse:
    """Whether this process answers."""
    return replies.json({"status": "live"})


@route("/health/ready", http_method=["GET", "HEAD"], opt={PUBLIC: True})
async def ready(request: Request[Any, Any, Any]) -> ASGIResponse:
    """Whether what is submitted now gets stored: MongoDB, RabbitMQ, a fetcher and a storer are there."""
    checks = await parts(request).readiness.check()
    if all(result == OK for result in checks.values()):
        return replies.json({"status": "ready", "checks": checks})
    return replies.json({"status": "not ready", "checks": checks}, status=503)


async def _bounded(check: Callable[[], Awaitable[str]]) -> str:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return await check()
    except TimeoutError:
        return "no answer in time"
    except BowerbirdError as error:
        # The error's own text is for the log: it may name hosts inside, and anybody may probe.
        log.debug("not ready", extra={"error": str(error)})
        return "doesn't answer"
