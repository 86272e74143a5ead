"""What a process did, counted, and told in a line a minute: a line for each image would cost more than it tells."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

EVERY_SECONDS = 60.0


class Minutes:
    """Counters with names of their own; entered, it tells of them every `every` seconds, and of the rest at the end. Nothing is told of nothing."""

    def __init__(self, log: logging.Logger | None = None, *, every: float = EVERY_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log or logging.getLogger("bowerbird.minutes")
        self._every = every
        self._clock = clock
        self._began = clock()
        self._counts: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        self._began = self._clock()
        self._telling = asyncio.create_task(self._tell())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._telling.cancel()
        await asyncio.gather(self._telling, return_exceptions=True)
        self.say()

    def count(self, what: str, number: int = 1) -> None:
        """So many more of these."""
        self._counts[what] += number

    def say(self) -> None:
        """Tells what has come since the last time."""
        counts, began = self._counts, self._began
        self._counts, self._began = Counter(), self._clock()
        if counts:
            self._log.info("done since the last such line", extra={**dict(sorted(counts.items())), "seconds": round(self._began - began, 1)})

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            self.say()
