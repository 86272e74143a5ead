"""How often a client may ask: a token bucket each, kept as the one time at which it is full again (GCRA). Per process."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

CLIENTS = 65_536
"""As many are remembered, some 10 MB; one forgotten has its whole burst again."""


class Rates:
    """Lets each client ask `rate` times a second in the long run, and `burst` times at once."""

    def __init__(self, rate: float, burst: int, *, clients: int = CLIENTS, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = 1 / rate
        self._window = burst / rate
        self._half = max(1, clients // 2)
        self._clock = clock
        # Two generations: when the young one is half of what may be remembered, the old one, of clients that asked before all of those, goes.
        self._young: dict[str, float] = {}
        self._old: dict[str, float] = {}
        self.policy = f'"requests";q={burst};w={math.ceil(self._window)}'
        """The header RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers)."""

    def wait(self, client: str) -> float:
        """Takes a token of a client's; 0, or the seconds until there is one."""
        now = self._clock()
        full_at = self._young.get(client) or self._old.get(client, now)
        full_at = max(full_at, now)
        wait = full_at + self._interval - now - self._window
        refused = wait > self._interval * 1e-6  # floats
        self._young[client] = full_at if refused else full_at + self._interval
        if len(self._young) >= self._half:
            self._old, self._young = self._young, {}
        return wait if refused else 0.0
