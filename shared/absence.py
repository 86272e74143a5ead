"""A server that is away: said when that begins, every minute while it lasts, and when it is back, however many wait for it."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger("bowerbird.absence")

SAID_EVERY = 60.0


class Absence:
    """Whether a server answers, as this process finds; at most two lines in SAID_EVERY seconds, even of one that comes and goes."""

    def __init__(self, server: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._server = server
        self._clock = clock
        self._since: float | None = None
        self._said_at = float("-inf")

    def noted(self, error: object) -> None:
        """It didn't answer, or refused."""
        now = self._clock()
        if self._since is None:
            self._since = now
        if now - self._said_at >= SAID_EVERY:
            self._said_at = now
            log.warning("waiting for a server", extra={"server": self._server, "waited_seconds": round(now - self._since), "error": str(error)})

    def over(self) -> None:
        """It did what it was asked for."""
        if self._since is None:
            return
        since, self._since = self._since, None
        if self._said_at >= since:
            log.info("a server is back", extra={"server": self._server, "waited_seconds": round(self._clock() - since)})


MONGODB = Absence("MongoDB")
RABBITMQ = Absence("RabbitMQ")
