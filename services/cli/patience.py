"""Waiting for an api that is overloaded, restarts or lacks a server for a while: for work that is long, and safe to repeat."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from services.cli.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

Answer = TypeVar("Answer")

SECONDS = 300.0
"""How long an outage is waited out."""
_SHORTEST, _LONGEST = 0.2, 10.0


class Patience:
    """Repeats a request until it is answered, after the pauses that the api asks for, or growing ones. For any number of threads.

    An api that can't be reached to begin with isn't waited for: its address is probably wrong. `tell` is told once in an outage.
    """

    def __init__(
        self,
        tell: Callable[[str], None],
        *,
        seconds: float = SECONDS,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tell = tell
        self._seconds = seconds
        self._sleep = sleep
        self._clock = clock
        self._met = self._told = False

    def __call__(self, ask: Callable[[], Answer]) -> Answer:
        """What `ask` returns. Raises Unavailable when the outage lasts."""
        began = self._clock()
        pause = _SHORTEST
        while True:
            try:
                answer = ask()
            except Unavailable as error:
                pause = min(pause * 2, _LONGEST)
                self._wait(error, max(error.pause or 0.0, _SHORTEST) if error.pause is not None else pause, began)
            else:
                self._met, self._told = True, False
                return answer

    def _wait(self, error: Unavailable, pause: float, began: float) -> None:
        if error.pause is None and not self._met:
            raise error
        if self._clock() + pause > began + self._seconds:
            raise error
        if not self._told:
            self._told = True
            self._tell(f"{error.fact} Trying again ...")
        self._sleep(pause)
