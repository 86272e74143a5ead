"""How many images came to an end lately, by what was heard."""

from __future__ import annotations

import math
import time
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS = 60


class Tally:
    """Counts by status, a bucket for each second, as long as it is told of everything (from `begin` to `end`)."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: float | None = None
        self._buckets: dict[int, Counter[str]] = {}

    def begin(self) -> None:
        """Everything is told from now on."""
        self._since = self._clock()
        self._buckets = {}

    def end(self) -> None:
        """Nothing is told any more."""
        self._since = None

    def count(self, status: str) -> None:
        """One image more."""
        second = int(self._clock())
        if second not in self._buckets:
            self._buckets = {each: counts for each, counts in self._buckets.items() if each >= second - SECONDS}
            self._buckets[second] = Counter()
        self._buckets[second][status] += 1

    def rate(self, status: str, seconds: int) -> float:
        """Images a second in the last `seconds` whole seconds, 60 at most, or as far back as is known."""
        now = self._clock()
        if self._since is None:
            return 0.0
        current = int(now)
        # The second that has just begun says little yet.
        counted = sum(counts[status] for second, counts in self._buckets.items() if current - seconds <= second < current)
        known = max(1, min(seconds, current - math.floor(self._since)))
        return round(counted / known, 2)
