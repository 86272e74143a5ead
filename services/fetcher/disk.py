"""How many bytes of large bodies may be on disk at once: a budget in sum, whoever they come from.

A body asks once, for all that it can come to, and holds nothing of the budget while it waits: so nobody waits for one who waits. Those who
wait are served in their order, so that the largest gets its turn too. Small bodies never ask.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from services.fetcher.hosts import PutOff

if TYPE_CHECKING:
    from collections.abc import Callable

WAIT_SECONDS = 10.0
"""Who has no room by then is put off to a delay queue, which spends no attempt: an origin does not wait for ever either."""

WAITING_SHARE = 4
"""Of the downloads that a fetcher has under way, one in so many may wait for room, so that small images go on beside them."""


class Room:
    """Bytes of the budget, until they are given back; that may be done twice."""

    def __init__(self, size: int, give_back: Callable[[int], None]) -> None:
        self.size = size
        self._give_back: Callable[[int], None] | None = give_back

    def give_back(self) -> None:
        """Others may have it."""
        if self._give_back:
            self._give_back(self.size)
            self._give_back = None


class Disk:
    """The budget, in bytes, and how many may wait for a part of it."""

    def __init__(
        self, size: int, *, waiting: int, wait_seconds: float = WAIT_SECONDS, uniform: Callable[[float, float], float] = random.uniform
    ) -> None:
        self.free = size
        self._most_waiting = waiting
        self._wait_seconds = wait_seconds
        self._uniform = uniform
        self.waiting = 0
        self._line = asyncio.Lock()  # its head waits for room, the others for the lock, in their order
        self._changed = asyncio.Event()

    async def room(self, size: int) -> Room:
        """So many bytes, which must be no more than the whole budget. Raises PutOff when too many wait already, or when the wait is over."""
        if self.free < size or self.waiting:
            if self.waiting >= self._most_waiting:
                raise self._put_off()
            await self._wait(size)
        self.free -= size
        return Room(size, self._take_back)

    async def _wait(self, size: int) -> None:
        self.waiting += 1
        try:
            async with asyncio.timeout(self._wait_seconds), self._line:
                while self.free < size:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise self._put_off() from None
        finally:
            self.waiting -= 1

    def _take_back(self, size: int) -> None:
        self.free += size
        self._changed.set()

    def _put_off(self) -> PutOff:
        # Spread, so that they don't all come back at once.
        return PutOff(self._wait_seconds * self._uniform(0.5, 1.5))
