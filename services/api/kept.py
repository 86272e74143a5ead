"""Answers that are dear to come by: found anew now and then, once for everybody who asks, and never more than a part of the time."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from shared.errors import BowerbirdError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = logging.getLogger("bowerbird.api")

SHARE = 0.05
"""Of the time, that finding may take: what takes a second isn't found anew for twenty."""
STALE_SECONDS = 30.0

Found = TypeVar("Found")


class _Known(NamedTuple, Generic[Found]):
    found: Found
    due: float
    stale: float


class Kept(Generic[Found]):
    """What `find` returns, for `seconds`. Older than that it is still given, at once, while it is found anew, but not when it is stale."""

    def __init__(
        self, find: Callable[[], Awaitable[Found]], *, seconds: float, stale: float = STALE_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._find = find
        self._seconds = seconds
        self._stale = stale
        self._clock = clock
        self._known: _Known[Found] | None = None
        self._finding: asyncio.Task[Found] | None = None

    async def get(self) -> Found:
        """The latest. Raises what `find` raises when there is none that could be given."""
        known, now = self._known, self._clock()
        if known and now < known.due:
            return known.found
        if self._finding is None:
            self._finding = asyncio.create_task(self._anew())
            self._finding.add_done_callback(self._done)
        if known and now < known.stale:
            return known.found
        return await asyncio.shield(self._finding)

    async def _anew(self) -> Found:
        began = self._clock()
        found = await self._find()
        now = self._clock()
        due = now + max(self._seconds, (now - began) / SHARE)
        self._known = _Known(found, due, due + self._stale)
        return found

    def _done(self, task: asyncio.Task[Found]) -> None:
        self._finding = None
        if task.cancelled() or (error := task.exception()) is None:
            return
        if isinstance(error, BowerbirdError):
            log.debug("not found anew", extra={"error": str(error)})
        else:
            log.error("not found anew", exc_info=error)
