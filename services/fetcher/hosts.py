"""Who may be asked now: a limit on downloads from one host, and a breaker for hosts that don't answer.

A message that waits here holds a place in the prefetch window, which other hosts need. So it waits only if its turn is near, and no
longer than that; otherwise it is put off to a delay queue, with a time of its own at which to come back, which spends no attempt. While a host's breaker is open its images fail their
attempt unasked, in the ordinary way with the ordinary delays, so that all of them come to an end; only the last is asked for in any case.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from shared.errors import Reason, TransientError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

LONGEST_SECONDS = 120.0
"""Nothing is put off for longer at once: a host may have become faster meanwhile."""

NEAR_SECONDS = 1.0
"""A turn that is expected within this time is waited for, and for this time: of a host that hasn't answered yet nothing can be expected."""

BREAKER_FAILURES = 5
BREAKER_SECONDS = 15.0
UNREACHABLE = frozenset({Reason.CONNECT, Reason.DNS, Reason.TIMEOUT})

REMEMBERED_HOSTS = 10_000
LOOKED_AT = 10
_SMOOTHING = 0.2


class PutOff(Exception):
    """Not now: come back in `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class Host:
    """What one fetcher knows of a host. Times are of the monotonic clock, in seconds."""

    def __init__(self, limit: int, clock: Callable[[], float], uniform: Callable[[float, float], float]) -> None:
        self._clock = clock
        self._uniform = uniform
        self._limit = limit
        self._free = asyncio.Semaphore(limit)
        self._present = 0  # downloads under way, and those that wait here
        self._next_turn = 0.0  # the first time that isn't promised yet to one that was put off
        self._under_way: dict[object, float] = {}  # when each download began, the earliest first
        self._average = 0.0  # of a download
        self._failures = 0
        self._open_until = 0.0

    @property
    def idle(self) -> bool:
        """Whether it can be forgotten."""
        return not self._present and max(self._next_turn, self._open_until) <= self._clock()

    @property
    def breaker_is_open(self) -> bool:
        """Whether it isn't asked at the moment."""
        return self._failures >= BREAKER_FAILURES and self._clock() < self._open_until

    def expected_wait(self) -> float:
        """How long until one more would get its turn, if only those that are here were before it; in seconds, as far as one can tell."""
        return max(0.0, (self._present - self._limit + 1) * self._pace())

    def _pace(self) -> float:
        """Seconds from one turn to the next. A download that is under way for long tells of a host that hasn't answered yet."""
        oldest = self._clock() - next(iter(self._under_way.values()), self._clock())
        return max(self._average, oldest) / self._limit

    @asynccontextmanager
    async def turn(self, *, last: bool) -> AsyncIterator[None]:
        """One download. Raises PutOff when its turn is far, TransientError when the breaker is open and this isn't the last attempt."""
        self._check_breaker(last=last)
        if self._present >= self._limit and self.expected_wait() > NEAR_SECONDS:
            raise self._put_off()
        self._present += 1
        try:
            await self._wait_for_turn()
            this, started = object(), self._clock()
            self._under_way[this] = started
            try:
                yield
            except TransientError as error:
                self._failed(error)
                raise
            except asyncio.CancelledError:
                raise
            except Exception:
                self._failures = 0  # it answered, if with nothing of use
                raise
            else:
                self._failures = 0
            finally:
                took = self._clock() - started
                self._average += (took - self._average) * (_SMOOTHING if self._average else 1)
                del self._under_way[this]
                self._free.release()
        finally:
            self._present -= 1

    async def _wait_for_turn(self) -> None:
        try:
            async with asyncio.timeout(NEAR_SECONDS):
                await self._free.acquire()
        except TimeoutError:
            raise self._put_off() from None

    def _put_off(self) -> PutOff:
        """With the next turn that isn't promised yet: those that are put off come back one after another, as the host can take them."""
        now = self._clock()
        turn = max(self._next_turn, now + max(self.expected_wait(), NEAR_SECONDS))
        if turn - now > LONGEST_SECONDS:
            # Too far to promise. Spread, so that they don't all come back at once.
            return PutOff(LONGEST_SECONDS * self._uniform(0.5, 1.0))
        self._next_turn = turn + self._pace()
        return PutOff(turn - now)

    def _check_breaker(self, *, last: bool) -> None:
        if self._failures < BREAKER_FAILURES or last:
            return
        now = self._clock()
        if now < self._open_until:
            raise TransientError(Reason.CONNECT, f"Not asked: the host didn't answer the last {self._failures} times.")
        self._open_until = now + BREAKER_SECONDS  # this one probes; the others are put off meanwhile

    def _failed(self, error: TransientError) -> None:
        if error.reason not in UNREACHABLE:
            self._failures = 0
            return
        self._failures += 1
        if self._failures >= BREAKER_FAILURES:
            self._open_until = self._clock() + BREAKER_SECONDS


class Hosts:
    """The hosts that a fetcher has met lately."""

    def __init__(self, limit: int, *, clock: Callable[[], float] = time.monotonic, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._limit = limit
        self._clock = clock
        self._uniform = uniform
        self._hosts: dict[str, Host] = {}

    def __getitem__(self, name: str) -> Host:
        """The host of this name and port."""
        host = self._hosts.pop(name, None) or Host(self._limit, self._clock, self._uniform)
        self._hosts[name] = host  # the latest last
        if len(self._hosts) > REMEMBERED_HOSTS:
            for oldest in list(itertools.islice(self._hosts, LOOKED_AT)):
                if self._hosts[oldest].idle:
                    del self._hosts[oldest]
                    break
        return host

    def open_breakers(self) -> int:
        """How many of them aren't asked at the moment."""
        return sum(host.breaker_is_open for host in self._hosts.values())
